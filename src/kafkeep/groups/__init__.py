"""Positions of consumer groups alone: where they belong on a cluster, setting them, and taking that back."""
