"""Exact search in memory: the replica of the active index that answers while it fits."""
