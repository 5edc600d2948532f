"""Histogram of latencies in constant space, with three significant digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from hdrh.histogram import HdrHistogram

_LONGEST_US = 600_000_000
_DIGITS = 3


class Latencies:
    """HDR histogram (by Gil Tene) of times between 1 µs and 10 minutes."""

    def __init__(self) -> None:
        """Start empty."""
        self._histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)

    @classmethod
    def decode(cls, encoded: str) -> Self:
        """Return the histogram that `encode` encoded."""
        latencies = cls()
        latencies.merge(encoded)
        return latencies

    def encode(self) -> str:
        """Return it in HdrHistogram's own compressed form, which all its implementations read."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode("ascii")

    def merge(self, encoded: str) -> None:
        """Add an encoded histogram."""
        self._histogram.decode_and_add(encoded.encode("ascii"))

    def record(self, seconds: float) -> None:
        """Add one call; values out of range count as the nearest limit."""
        microseconds = int(seconds * 1e6 + 0.5)
        self._histogram.record_value(min(max(microseconds, 1), _LONGEST_US))

    @property
    def count(self) -> int:
        """Calls recorded."""
        return int(self._histogram.get_total_count())

    @property
    def mean(self) -> float:
        """Mean in seconds; 0 if empty."""
        return float(self._histogram.get_mean_value()) / 1e6 if self.count else 0.0

    @property
    def longest(self) -> float:
        """Longest in seconds; 0 if empty."""
        return float(self._histogram.get_max_value()) / 1e6 if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the time in seconds within which `percent` of the calls were answered."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1e6

    def curve(self, steps_per_halving: int = 8) -> Iterator[tuple[float, float]]:
        """Yield percents and times in seconds, denser towards 100, for a plot of the tail."""
        for each in self._histogram.get_percentile_iterator(steps_per_halving):
            yield each.percentile_level_iterated_to, each.value_iterated_to / 1e6
