"""Loads: closed-loop, with a fixed number of callers, or open-loop, with a fixed rate."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Arrivals = Literal["even", "poisson"]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A number of callers, each of which calls again as soon as it has its answer.

    It finds the highest throughput of a server. Its latencies hide stalls: during a stall nobody
    calls.
    """

    concurrency: int

    def share(self, part: int, parts: int) -> ClosedLoop:
        """Return the share of one of several processes."""
        return ClosedLoop(len(range(part, self.concurrency, parts)))

    def __str__(self) -> str:
        return f"{self.concurrency} caller{'s' if self.concurrency != 1 else ''}"


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Calls at a fixed rate, whether or not the server keeps up, as from independent users.

    Latency counts from the time a call was due, not from when it was sent, which avoids
    coordinated omission.
    """

    rate: float
    """Calls per second."""
    arrivals: Arrivals = "poisson"
    """Distribution over time: even or random."""

    def share(self, part: int, parts: int) -> OpenLoop:  # noqa: ARG002 - as ClosedLoop.share
        """Return the share of one of several processes."""
        return OpenLoop(self.rate / parts, self.arrivals)

    def times(self, seed: int) -> Iterator[float]:
        """Yield the seconds after the start at which calls are due, without end.

        Args:
            seed: Seed of the random times and of the offset of the first call.
        """
        generator = random.Random(seed)
        due = generator.random() / self.rate
        while True:
            yield due
            due += generator.expovariate(self.rate) if self.arrivals == "poisson" else 1 / self.rate

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s"


Load = ClosedLoop | OpenLoop
