"""Declarations of the commands; each imports its implementation only when it runs."""
