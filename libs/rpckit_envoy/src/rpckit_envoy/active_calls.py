"""The calls in progress inside Envoy: detects callers that disconnected and calls that time out.

pyvoy reports a disconnected caller only when the application asks, by reading the next ASGI event;
the answer comes at once, whether or not the caller is there. Asking costs a round trip between
threads, as much as a call. So a call is polled sparingly: first after 0.1 s, when nearly all calls
have been answered, and then each time its age has grown by half. Adding and removing a call costs
no more than an entry in a set.
"""

from __future__ import annotations

import asyncio
import math

import grpc

from rpckit_envoy.protocol import Event, ProtocolError, Receive

CHECK_INTERVAL_SECONDS = 0.1
"""Pause between checks of all calls, and the age at which a call is first polled."""
MAX_POLL_INTERVAL_SECONDS = 2.0
"""Longest pause between two polls of one call."""


class ActiveCall:
    """One call in progress."""

    __slots__ = (
        "_expires_at",
        "_next_poll",
        "_receive",
        "_started_at",
        "_stream_ends_at",
        "abort_reason",
        "is_stream",
        "task",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Receive,
        *,
        request_timeout: float,
        stream_timeout: float,
        is_stream: bool,
    ) -> None:
        """Track the call that the current task answers.

        Args:
            loop: The running loop.
            receive: The `receive` of the ASGI call.
            request_timeout: Longest time for the request of a stream to arrive, in seconds.
            stream_timeout: Longest duration of a stream, in seconds.
            is_stream: Whether the call is a stream. Others have a deadline, which the dispatcher
                enforces.
        """
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - ASGI calls are tasks
        self.task = task
        self.is_stream = is_stream
        self.abort_reason: ProtocolError | None = None
        """Why the host cancelled the task; None if the caller disconnected."""
        self._receive = receive
        self._started_at = loop.time()
        self._stream_ends_at = self._started_at + stream_timeout
        self._expires_at = self._started_at + request_timeout if is_stream else math.inf
        self._next_poll = math.inf

    def request_is_complete(self) -> None:
        """Start to poll; until now, reading the request reported a disconnected caller."""
        self._next_poll = self._started_at + CHECK_INTERVAL_SECONDS
        self.request_may_last()

    def request_may_last(self) -> None:
        """Bound the stream from now on, and not the arrival of its request."""
        if self.is_stream:
            self._expires_at = self._stream_ends_at

    def abort(self, reason: ProtocolError) -> None:
        """End the call with a status."""
        if self.abort_reason is None:
            self.abort_reason = reason
            self.task.cancel()

    def check(self, now: float) -> None:
        """Abort the call if its time is up; poll the caller if it is due."""
        if now > self._expires_at:
            has_ended = self._expires_at == self._stream_ends_at
            self.abort(_STREAM_TOO_LONG if has_ended else _REQUEST_TOO_SLOW)
        elif now > self._next_poll:
            self._next_poll = math.inf  # one poll at a time
            asyncio.ensure_future(self._receive()).add_done_callback(self._on_polled)

    def _on_polled(self, poll: asyncio.Future[Event]) -> None:
        if self.task.done() or poll.cancelled() or poll.exception() is not None:
            return
        if poll.result()["type"] == "http.disconnect":
            self.task.cancel()
            return
        now = self.task.get_loop().time()
        self._next_poll = now + min((now - self._started_at) / 2, MAX_POLL_INTERVAL_SECONDS)


class ActiveCalls:
    """All calls in progress."""

    def __init__(self, *, request_timeout: float, stream_timeout: float) -> None:
        """Start without calls.

        Args:
            request_timeout: Longest time for the request of a stream to arrive, in seconds.
            stream_timeout: Longest duration of a stream, in seconds.
        """
        self._request_timeout = request_timeout
        self._stream_timeout = stream_timeout
        self._calls: set[ActiveCall] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, receive: Receive, *, is_stream: bool = False) -> ActiveCall:
        """Track the call that the current task answers."""
        loop = asyncio.get_running_loop()
        call = ActiveCall(
            loop,
            receive,
            request_timeout=self._request_timeout,
            stream_timeout=self._stream_timeout,
            is_stream=is_stream,
        )
        self._calls.add(call)
        if self._timer is None:
            self._check_all(loop)
        return call

    def remove(self, call: ActiveCall) -> None:
        """Stop tracking a call."""
        self._calls.discard(call)

    def abort_all(self, reason: ProtocolError, *, streams_only: bool = False) -> None:
        """End all calls, or only the streams, with a status."""
        for call in tuple(self._calls):
            if call.is_stream or not streams_only:
                call.abort(reason)

    def _check_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for call in self._calls:
            call.check(now)
        self._timer = (
            loop.call_later(CHECK_INTERVAL_SECONDS, self._check_all, loop) if self._calls else None
        )


_REQUEST_TOO_SLOW = ProtocolError(
    grpc.StatusCode.DEADLINE_EXCEEDED, "the request took too long to arrive"
)
_STREAM_TOO_LONG = ProtocolError(
    grpc.StatusCode.UNAVAILABLE, "the stream has lasted as long as a connection may; call again"
)
