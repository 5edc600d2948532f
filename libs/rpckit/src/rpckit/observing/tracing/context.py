"""Which trace a call belongs to (https://www.w3.org/TR/trace-context/), with or without spans.

A process passes the trace on, whether or not it records spans itself; OpenTelemetry is imported,
by `rpckit.observing.tracing.otlp`, only where spans are recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits
from typing import Protocol

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"(?P<place>-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)


class TraceContext:
    """A place in a trace: the span that what happens next belongs below."""

    __slots__ = ("_traceparent", "tracestate")

    def __init__(self, traceparent: str | None = None, tracestate: str = "") -> None:
        """Take a place in a trace that exists, or in a new one.

        Args:
            traceparent: Header value, valid. None: a new trace, whose ids are drawn when they are
                first asked for, because most calls never need them.
            tracestate: Header value; what other vendors' tracers add, passed on untouched.
        """
        self._traceparent = traceparent
        self.tracestate = tracestate

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str | bytes]) -> TraceContext:
        """Return the caller's place; a new trace if it names none, or none that is valid."""
        traceparent = metadata.get("traceparent")
        if not isinstance(traceparent, str):
            return cls()
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None or (match["version"] == "00" and match["more"]):
            return cls()
        tracestate = metadata.get("tracestate", "")
        # Of a later version only what version 00 knows may be passed on, and as version 00.
        return cls("00" + match["place"], tracestate if isinstance(tracestate, str) else "")

    @property
    def begun(self) -> bool:
        """Whether the trace has ids yet; one without has no span that anything could be below."""
        return self._traceparent is not None

    @property
    def traceparent(self) -> str:
        """Header value for the next hop."""
        if self._traceparent is None:
            trace_id = getrandbits(128) or 1  # all zeros is the one id that is not valid
            span_id = getrandbits(64) or 1
            self._traceparent = f"00-{trace_id:032x}-{span_id:016x}-00"
        return self._traceparent

    @property
    def trace_id(self) -> str:
        """The trace, as 32 hexadecimal digits: what logs and tracing systems have in common."""
        return self.traceparent[3:35]

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that carries the trace to the next hop."""
        if self.tracestate:
            return (("traceparent", self.traceparent), ("tracestate", self.tracestate))
        return (("traceparent", self.traceparent),)


_served: ContextVar[tuple[TraceContext, ...]] = ContextVar("served", default=())


@contextmanager
def on_behalf_of(traces: Iterable[TraceContext]) -> Iterator[None]:
    """Say for which calls the code inside works.

    For a core that is called through a seam of its own, which knows nothing of traces: a stage that
    it measures belongs to these.
    """
    token = _served.set(tuple(traces))
    try:
        yield
    finally:
        _served.reset(token)


def served() -> tuple[TraceContext, ...]:
    """Return the traces of the innermost `on_behalf_of`."""
    return _served.get()


class Span(Protocol):
    """Something under way."""

    context: TraceContext
    """Place of whatever happens below it."""

    def end(self, code: str) -> None:
        """Say that it is over, and with which gRPC status code."""
        ...


class Tracer(Protocol):
    """Begins spans."""

    def server(self, method: str, parent: TraceContext) -> Span:
        """Begin to answer a call."""
        ...

    def client(self, method: str, parents: Sequence[TraceContext]) -> Span:
        """Begin a call to another service, for one call or for a batch of several.

        A span has one parent; that is the first, and the others are linked.
        """
        ...

    def internal(self, name: str, parents: Sequence[TraceContext]) -> Span:
        """Begin work inside the process, for one call or for a batch of several."""
        ...


class Untraced:
    """A tracer, and its spans, that records nothing and passes the trace on as it came."""

    def server(self, method: str, parent: TraceContext) -> Span:  # noqa: ARG002
        """Return a span that is not recorded."""
        return _Unrecorded(parent)

    def client(self, method: str, parents: Sequence[TraceContext]) -> Span:  # noqa: ARG002
        """Return a span that is not recorded."""
        return _Unrecorded(parents[0] if parents else TraceContext())

    def internal(self, name: str, parents: Sequence[TraceContext]) -> Span:  # noqa: ARG002
        """Return a span that is not recorded."""
        return _Unrecorded(parents[0] if parents else TraceContext())


class _Unrecorded:
    __slots__ = ("context",)

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    def end(self, code: str) -> None:
        pass
