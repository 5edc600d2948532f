"""TLS and bearer tokens, from files that may change at any time."""
