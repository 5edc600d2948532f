"""Runs the three services as child processes and fills their index."""
