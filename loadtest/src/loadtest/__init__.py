"""The load-testing kit behind marquee bench."""
