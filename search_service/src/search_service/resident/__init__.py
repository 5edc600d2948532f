"""Exact search in memory, over a replica of the active index."""
