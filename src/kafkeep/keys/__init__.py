"""Who may open an encrypted repository: recipients come and go, keys are made anew, topics are shredded."""
