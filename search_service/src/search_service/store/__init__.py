"""Milvus: the store of every index."""
