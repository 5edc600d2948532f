"""The arguments of each command; a command imports what it needs when it runs."""
