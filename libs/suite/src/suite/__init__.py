"""The three services as child processes, and the builder of their index."""
