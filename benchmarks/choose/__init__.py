"""Settings and recipes, chosen on validation parts and simulated data alone."""
