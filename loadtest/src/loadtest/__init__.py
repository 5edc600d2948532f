"""The load-testing package behind `marquee bench`."""
