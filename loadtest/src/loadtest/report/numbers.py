"""Format numbers for people."""

from __future__ import annotations


def format_number(value: float) -> str:
    """Return a number with three digits, or whole where it has more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float) -> str:
    """Return a share, from 0 to 1, as a percentage."""
    return f"{share * 100:.0f} %"


def milliseconds(value: float) -> str:
    """Return a time with its unit."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
