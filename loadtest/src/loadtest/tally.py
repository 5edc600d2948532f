"""Latencies and failures of a method, as one process counts them."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc

from loadtest.histogram import Latencies

CODES = {code.value[0]: code.name for code in grpc.StatusCode}
"""Names of the gRPC status codes by number."""


@dataclass(slots=True)
class MethodTally:
    """Answers of one method in the measured time."""

    latencies: Latencies = field(default_factory=Latencies)
    """Latencies of the successes."""
    failures: dict[str, int] = field(default_factory=dict)
    """Number by name of status code."""

    def record(self, status: int, seconds: float) -> None:
        """Add one answer."""
        if status == 0:
            self.latencies.record(seconds)
        else:
            name = CODES.get(status, "UNKNOWN")
            self.failures[name] = self.failures.get(name, 0) + 1

    def merge(self, other: EncodedTally) -> None:
        """Add the tally of another process."""
        self.latencies.merge(other.latencies)
        for name, number in other.failures.items():
            self.failures[name] = self.failures.get(name, 0) + number

    def encoded(self) -> EncodedTally:
        """Return a copy that can be pickled."""
        return EncodedTally(self.latencies.encode(), self.failures)


@dataclass(frozen=True, slots=True)
class EncodedTally:
    """A `MethodTally` that can be pickled."""

    latencies: str
    failures: dict[str, int]
