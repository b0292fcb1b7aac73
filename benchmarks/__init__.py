"""Benchmarks of skclip; run them as ``python -m benchmarks.<folder>.<name>``."""
