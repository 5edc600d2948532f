"""Definitions of all metrics, and the instruments and recorders that fill them."""
