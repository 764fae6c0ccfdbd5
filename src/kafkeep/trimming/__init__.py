"""Shortening the log of a repository whose commits are signed: a state is saved, and what it stands for is deleted later."""
