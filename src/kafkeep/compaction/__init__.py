"""Gathering the runs of many small packs in few large ones, byte for byte."""
