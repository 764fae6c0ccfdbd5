"""Side-by-side benchmarks of kafkeep on a real broker: `python -m bench`, or `make bench`. docs/benchmarks.md tells more."""
