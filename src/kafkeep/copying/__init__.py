"""A repository kept a second time, byte for byte."""
