"""How another service is called."""
