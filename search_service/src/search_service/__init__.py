"""The search service: movie vectors in Milvus, inner-product searches."""
