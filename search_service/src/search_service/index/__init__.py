"""The vector index: its interface, its values, its errors."""
