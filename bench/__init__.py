"""Benchmarks: `python -m bench.pretrain --help`."""
