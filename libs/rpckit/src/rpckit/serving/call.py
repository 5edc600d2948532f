"""The call that a handler answers, independent of the host."""

from __future__ import annotations

import time
from dataclasses import dataclass

import grpc

from rpckit.errors import DeadlineError
from rpckit.observing.tracing.context import TraceContext


class UnreadableRequestError(Exception):
    """The request did not arrive as gRPC demands, so it reached no handler; has no details."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Refuse a request with a gRPC status."""
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Call:
    """One RPC in progress."""

    method: str
    """Full name, as in `marquee.embedder.v1.EmbedderService/EmbedUsers`."""
    caller: str
    """Name of the caller's token, or `anonymous`."""
    deadline: float
    """Time at which the caller stops waiting, in seconds of `time.monotonic()`. (uvloop's own
    `loop.time()` has a resolution of milliseconds.)"""
    margin: float
    """Seconds that this service keeps of the budget, to answer in time if the next hop does not."""
    trace: TraceContext
    """Trace that the call belongs to; parent of the spans inside."""

    def time_remaining(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.deadline - time.monotonic()

    def budget(self) -> float:
        """Return the timeout of a call to the next hop, in seconds.

        Raises:
            DeadlineError: The budget is used up.
        """
        left = self.time_remaining() - self.margin
        if left <= 0:
            raise DeadlineError(f"no time left for the next hop: {left + self.margin:.3f} s remain")
        return left
