"""Which trace a call belongs to, and how its spans are exported."""
