"""Admission by waiting time: a call is taken on if those before it are answered soon enough.

By Little's law, n calls in flight that are answered at r calls a second take n / r seconds. So a
bound on the waiting time is a bound on the calls in flight, r × max_wait. It follows what the
service can do: it is high for cheap calls, low for expensive ones. Each RPC has its own, because a
mean of cheap and expensive calls says nothing about either.

- A queue that goes away by itself does no harm: a burst, or what arrived while the process did not
  run. Only a standing queue does (Nichols and Jacobson, "Controlling Queue Delay", 2012; Maurer,
  "Fail at Scale", 2015). So calls are refused once the bound has been exceeded for
  `WINDOW_SECONDS`, again and again, without a pause as long. Until then there is only the bound on
  all calls together.
- A rate at which little was asked for is not what the service can do. So the rate is the highest
  one measured, and falls only while `ALWAYS_ADMITTED` calls are in flight (like the bandwidth of
  BBR, Cardwell et al., 2016).
- `ALWAYS_ADMITTED` calls need no rate: it has to be learned from some.

Limits that follow latency (Netflix's concurrency-limits, Envoy's adaptive concurrency) take every
growth of it for a queue. Here it also grows with the batches, from which the throughput comes.
"""

from __future__ import annotations

import math

ALWAYS_ADMITTED = 64
"""Calls of an RPC in flight that are admitted at any rate: enough for full batches."""
WINDOW_SECONDS = 0.5
"""How long a rate is measured and a burst may last, in seconds: the time of many batches, and of
the pauses that a crowded machine makes."""
KEPT_RATE = 0.8
"""Share of the highest rate that remains of it in the next window of a busy service."""


def streams_per_connection(max_in_flight: int) -> int:
    """Return how many calls HTTP/2 lets a client send on one connection; others wait there.

    grpc.aio takes one call in each iteration of its loop. Until then calls wait in C-core, where
    nothing can refuse them, so their number is bounded. The bound leaves room for calls to refuse.
    """
    return min(2 * max_in_flight, 8 * ALWAYS_ADMITTED)


class Admission:
    """The calls in flight of a server."""

    def __init__(self, *, max_in_flight: int, max_wait: float) -> None:
        """Start without calls.

        Args:
            max_in_flight: Most calls of all RPCs in flight, also in a burst.
            max_wait: Longest that calls may take because of those before them, in seconds.
        """
        self.in_flight = 0
        """Calls of all RPCs in flight."""
        self._max_in_flight = max_in_flight
        self._max_wait = max_wait

    @property
    def is_full(self) -> bool:
        """Whether as many calls are in flight as may ever be."""
        return self.in_flight >= self._max_in_flight

    def for_method(self) -> MethodAdmission:
        """Return the admission of one RPC."""
        return MethodAdmission(self, self._max_in_flight, self._max_wait)


class MethodAdmission:
    """The calls in flight of one RPC, and how many they may be."""

    __slots__ = (
        "_answered",
        "_exceeded_at",
        "_exceeded_since",
        "_is_busy",
        "_least",
        "_max_wait",
        "_most",
        "_rate",
        "_server",
        "_window_began",
        "in_flight",
        "limit",
    )

    def __init__(self, server: Admission, max_in_flight: int, max_wait: float) -> None:
        """Start without calls; see `Admission`."""
        self.in_flight = 0
        """Calls in flight."""
        self._server = server
        self._most = max_in_flight
        self._max_wait = max_wait
        self._least = min(ALWAYS_ADMITTED, max_in_flight)
        self.limit = self._least
        """Calls that are answered within the bound on waiting. Only a burst may exceed it."""
        self._rate = 0.0
        self._answered = 0
        self._window_began = -math.inf
        self._exceeded_at = -math.inf
        self._exceeded_since = 0.0
        self._is_busy = False  # no less than _least in flight in all of the window

    def enter(self, now: float, budget: float) -> bool:
        """Count a call in, unless it has to be refused.

        Args:
            now: The time in seconds, on a clock that only goes forward.
            budget: Seconds until the call's deadline. Once calls are refused, those are too that
                would be answered too late.

        Returns:
            Whether it is admitted; then `leave` must follow.
        """
        if now - self._window_began >= WINDOW_SECONDS:
            self._measure(now)
        if self._server.is_full:
            return False
        if self.in_flight >= self.limit:
            if now - self._exceeded_at >= WINDOW_SECONDS:
                self._exceeded_since = now
            self._exceeded_at = now
        if self._queue_stands(now):
            in_time = self._rate * min(self._max_wait, budget)
            if self.in_flight >= max(self._least, in_time):
                return False
        self.in_flight += 1
        self._server.in_flight += 1
        return True

    def leave(self, answered: bool) -> None:
        """Count a call out.

        Args:
            answered: The handler did its work: a refusal, however fast, says nothing about that.
        """
        self.in_flight -= 1
        self._server.in_flight -= 1
        self._answered += answered
        if self.in_flight < self._least:
            self._is_busy = False

    def _queue_stands(self, now: float) -> bool:
        lasted = self._exceeded_at - self._exceeded_since
        return lasted >= WINDOW_SECONDS and now - self._exceeded_at < WINDOW_SECONDS

    def _measure(self, now: float) -> None:
        measured = self._answered / (now - self._window_began)
        self._rate = max(measured, self._rate * (KEPT_RATE if self._is_busy else 1))
        self.limit = max(self._least, min(self._most, math.ceil(self._rate * self._max_wait)))
        self._answered, self._window_began = 0, now
        self._is_busy = self.in_flight >= self._least
