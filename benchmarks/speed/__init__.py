"""How fast: ratios in one run, and memory. No quality is reported."""
