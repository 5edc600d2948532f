"""The gateway: one Recommend composed of the embedder and the search service."""
