"""The embedder: users and movies in, vectors out."""
