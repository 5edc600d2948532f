"""What can be set about a process, and how it is read from flags and environment."""
