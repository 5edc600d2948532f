"""What a vector index is: the interface, its values, its errors."""
