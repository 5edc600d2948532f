"""Storage and search of indexes in Milvus."""
