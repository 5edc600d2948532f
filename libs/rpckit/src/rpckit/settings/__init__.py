"""Settings of servers and clients, read from flags and environment variables."""
