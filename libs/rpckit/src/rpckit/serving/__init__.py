"""How a service is run and its calls are answered."""
