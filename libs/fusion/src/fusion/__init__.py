"""What a feature is, and what training hands to serving."""
