"""The search service: stores movie vectors in Milvus and finds the nearest ones."""
