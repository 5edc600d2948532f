"""The evaluation of recommendations: rankings of the whole catalogue, and predicted ratings.

docs/evaluation.md explains protocols and metrics. `comparison.compare` runs everything.
"""
