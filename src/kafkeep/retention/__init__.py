"""Which recovery points stay, why, and what may be deleted when others go."""
