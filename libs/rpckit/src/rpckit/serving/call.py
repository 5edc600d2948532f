"""What a handler may know of the call that it answers, whatever server hosts it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rpckit.errors import DeadlineError
from rpckit.observing.tracing.context import TraceContext


@dataclass(slots=True)
class Call:
    """One RPC under way."""

    method: str
    """Full name, as in `marquee.embedder.v1.EmbedderService/EmbedUsers`."""
    caller: str
    """Name that the caller's token stands for, or `anonymous`."""
    deadline: float
    """When the caller stops waiting, in seconds of `time.monotonic()`, the clock of asyncio's loops
    (uvloop's own `loop.time()` only knows milliseconds)."""
    margin: float
    """Seconds of a budget that this hop keeps, to answer in time when the next one does not."""
    trace: TraceContext
    """Trace that the call belongs to."""

    def time_remaining(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.deadline - time.monotonic()

    def budget(self) -> float:
        """Return the seconds that a call to the next hop may take.

        Raises:
            DeadlineError: Nothing is left of the budget.
        """
        left = self.time_remaining() - self.margin
        if left <= 0:
            raise DeadlineError(f"no time left for the next hop: {left + self.margin:.3f} s remain")
        return left
