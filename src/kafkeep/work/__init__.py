"""Running tasks: values in, values out. The executors know nothing of what a task does."""
