"""Capture: getting batches, positions and settings out of a cluster into a repository."""
