"""Benchmarks of speed and memory, as ratios measured within one run: `python -m benchmarks`."""
