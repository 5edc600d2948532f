"""The published measurements: configurations, benchmarks and ratios."""
