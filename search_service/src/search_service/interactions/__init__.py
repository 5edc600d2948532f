"""What users did with movies: kept in Milvus, and what they have seen also in memory."""
