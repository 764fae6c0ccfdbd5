"""The repository: the only room that knows the stored format (docs/format.md)."""
