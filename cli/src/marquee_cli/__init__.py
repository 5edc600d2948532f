"""The marquee command."""
