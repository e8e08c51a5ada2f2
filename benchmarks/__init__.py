"""Figures about bulkload, each measured on real processes: ``python -m benchmarks --help``."""
