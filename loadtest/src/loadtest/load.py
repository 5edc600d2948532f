"""When calls are sent: as fast as they are answered, or at times fixed beforehand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Arrivals = Literal["even", "poisson"]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many callers, each of which calls again as soon as it has its answer.

    It finds the most that a server can do. Its latencies are kind to a server that stalls: while it
    stalls nobody calls.
    """

    concurrency: int

    def share(self, part: int, parts: int) -> ClosedLoop:
        """Return what one of several processes does of it."""
        return ClosedLoop(len(range(part, self.concurrency, parts)))

    def __str__(self) -> str:
        return f"{self.concurrency} caller{'s' if self.concurrency != 1 else ''}"


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Calls at a fixed rate, whether or not the server keeps up, as independent people make them.

    Latency counts from the time at which a call was due, not from when it could be sent, so that
    waiting is not hidden (Gil Tene's "coordinated omission").
    """

    rate: float
    """Calls per second."""
    arrivals: Arrivals = "poisson"
    """Whether they come evenly or at random."""

    def share(self, part: int, parts: int) -> OpenLoop:  # noqa: ARG002 - as ClosedLoop.share
        """Return what one of several processes does of it."""
        return OpenLoop(self.rate / parts, self.arrivals)

    def times(self, seed: int) -> Iterator[float]:
        """Yield the seconds after the start at which calls are due, without end.

        Args:
            seed: Decides the random times; also where between two of its calls a process begins.
        """
        generator = random.Random(seed)
        due = generator.random() / self.rate
        while True:
            yield due
            due += generator.expovariate(self.rate) if self.arrivals == "poisson" else 1 / self.rate

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s"


Load = ClosedLoop | OpenLoop
