"""Is the repository whole? Reads the store itself, never a cache, and reports instead of raising."""
