"""Restore: putting the records, settings and positions of a recovery point back into a cluster."""
