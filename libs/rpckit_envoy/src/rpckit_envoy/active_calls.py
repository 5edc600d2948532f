"""The calls under way in Envoy: which of their callers have gone, and which take too long.

pyvoy tells an application that a caller has gone only when asked, and answers at once whether or
not it has. Asking costs a round trip between threads, as much as a call; so calls are asked about
sparingly: after 0.1 s, when nearly all have been answered, and then each time that their age has
grown by half. Counting a call in and out costs no more than an entry in a set.
"""

from __future__ import annotations

import asyncio
import math

import grpc

from rpckit_envoy.protocol import Event, ProtocolError, Receive

SWEEP_SECONDS = 0.1
"""Pause between two looks at the calls under way, and the age at which one is first asked about."""
LONGEST_PAUSE_SECONDS = 2.0
"""Longest pause between two questions about one call."""


class Flight:
    """One call under way."""

    __slots__ = ("_due", "_expires", "_receive", "_since", "ending", "is_stream", "task")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Receive,
        longest: float,
        *,
        is_stream: bool,
    ) -> None:
        """Begin in the current task.

        Args:
            loop: The running one.
            receive: The ASGI call's.
            longest: Seconds that the request may take to arrive; of a stream, that it may last.
            is_stream: Whether the call has no foreseeable end.
        """
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - ASGI calls are tasks
        self.task = task
        self.is_stream = is_stream
        self.ending: ProtocolError | None = None
        self._receive = receive
        self._since = loop.time()
        self._expires = self._since + longest
        self._due = math.inf

    def request_is_complete(self) -> None:
        """Begin to ask whether the caller has gone; until now, reading would have told."""
        self._due = self._since + SWEEP_SECONDS
        if not self.is_stream:
            self._expires = math.inf  # from here on, the call has its deadline

    def end(self, error: ProtocolError) -> None:
        """Break the call off and tell its caller why."""
        if self.ending is None:
            self.ending = error
            self.task.cancel()

    def look(self, now: float) -> None:
        """End the call if it takes too long; ask whether the caller has gone if it is time to."""
        if now > self._expires:
            self.end(_STREAM_TOO_LONG if self.is_stream else _REQUEST_TOO_SLOW)
        elif now > self._due:
            self._due = math.inf  # one question at a time
            asyncio.ensure_future(self._receive()).add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Event]) -> None:
        if self.task.done() or answer.cancelled() or answer.exception() is not None:
            return
        if answer.result()["type"] == "http.disconnect":
            self.task.cancel()
            return
        now = self.task.get_loop().time()
        self._due = now + min((now - self._since) / 2, LONGEST_PAUSE_SECONDS)


class Flights:
    """All calls under way."""

    def __init__(self, *, longest_request: float, longest_stream: float) -> None:
        """Begin with none.

        Args:
            longest_request: Seconds that the request of a unary call may take to arrive.
            longest_stream: Seconds that a stream may last.
        """
        self._longest_request = longest_request
        self._longest_stream = longest_stream
        self._flights: set[Flight] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def enter(self, receive: Receive, *, is_stream: bool = False) -> Flight:
        """Count the current task's call in."""
        loop = asyncio.get_running_loop()
        longest = self._longest_stream if is_stream else self._longest_request
        flight = Flight(loop, receive, longest, is_stream=is_stream)
        self._flights.add(flight)
        if self._sweep is None:
            self._look(loop)
        return flight

    def leave(self, flight: Flight) -> None:
        """Count a call out."""
        self._flights.discard(flight)

    def end(self, error: ProtocolError, *, streams_only: bool = False) -> None:
        """Break off the calls under way."""
        for flight in tuple(self._flights):
            if flight.is_stream or not streams_only:
                flight.end(error)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for flight in self._flights:
            flight.look(now)
        self._sweep = loop.call_later(SWEEP_SECONDS, self._look, loop) if self._flights else None


_REQUEST_TOO_SLOW = ProtocolError(
    grpc.StatusCode.DEADLINE_EXCEEDED, "the request took too long to arrive"
)
_STREAM_TOO_LONG = ProtocolError(
    grpc.StatusCode.UNAVAILABLE, "the stream has lasted as long as a connection may; call again"
)
