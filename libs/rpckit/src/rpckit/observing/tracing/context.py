"""W3C trace context of a call (https://www.w3.org/TR/trace-context/), with or without spans.

A process passes the trace on whether or not it records spans. Only `rpckit.observing.tracing.otlp`
imports OpenTelemetry, and only a process that records spans imports that module.
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
    r"(?P<ids>-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)

MAX_TRACESTATE_LENGTH = 512
"""Characters; what the standard asks everybody to pass on at least."""
_MAX_TRACESTATE_MEMBERS = 32
_TRACESTATE_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class TraceContext:
    """A span's identity in its trace, which the next span takes as its parent."""

    __slots__ = ("_traceparent", "tracestate")

    def __init__(self, traceparent: str | None = None, tracestate: str = "") -> None:
        """Continue a trace, or start one.

        Args:
            traceparent: Valid header value. None starts a new trace; its ids are drawn when
                they are first read, because most calls never read them.
            tracestate: Valid header value; carries other vendors' state and is passed on.
        """
        self._traceparent = traceparent
        self.tracestate = tracestate

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str | bytes]) -> TraceContext:
        """Return the caller's context, or a new trace if the metadata has no valid one."""
        traceparent = metadata.get("traceparent")
        if not isinstance(traceparent, str):
            return cls()
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None or (match["version"] == "00" and match["more"]):
            return cls()
        # The standard: of a later version, pass on the fields of version 00, as version 00.
        return cls("00" + match["ids"], _valid_tracestate(metadata.get("tracestate", "")))

    @property
    def has_ids(self) -> bool:
        """Whether the ids are drawn; a context without ids is nobody's parent yet."""
        return self._traceparent is not None

    @property
    def traceparent(self) -> str:
        """Header value for the next hop."""
        if self._traceparent is None:
            trace_id = getrandbits(128) or 1  # all zeros is the one invalid id
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


def _valid_tracestate(value: str | bytes) -> str:
    """Return a tracestate to pass on: the caller's without empty members, or "" if it is invalid.

    It travels with calls made for several callers, so what one of them sends must be harmless to
    the hop of all.
    """
    if not isinstance(value, str) or len(value) > MAX_TRACESTATE_LENGTH:
        return ""
    members = [member.strip(" \t") for member in value.split(",")]
    members = [member for member in members if member]
    valid = len(members) <= _MAX_TRACESTATE_MEMBERS and all(
        _TRACESTATE_MEMBER.fullmatch(member) for member in members
    )
    return ",".join(members) if valid else ""


_current_traces: ContextVar[tuple[TraceContext, ...]] = ContextVar("current_traces", default=())


@contextmanager
def use_traces(traces: Iterable[TraceContext]) -> Iterator[None]:
    """Make the traces current: stages measured inside belong to them.

    For code behind an interface that knows nothing of traces.
    """
    token = _current_traces.set(tuple(traces))
    try:
        yield
    finally:
        _current_traces.reset(token)


def current_traces() -> tuple[TraceContext, ...]:
    """Return the traces of the innermost `use_traces`."""
    return _current_traces.get()


class Span(Protocol):
    """An operation in progress."""

    context: TraceContext
    """Parent of the spans inside this one."""

    def end(self, code: str) -> None:
        """End the span with the name of a gRPC status code."""
        ...


class Tracer(Protocol):
    """Starts spans, one method for each kind.

    A span has one parent. Work that is done for a batch of calls has the first call as its parent
    and the others as links (https://opentelemetry.io/docs/concepts/signals/traces/#span-links).
    """

    def server(self, method: str, parent: TraceContext) -> Span:
        """Start the span of a call that this process answers."""
        ...

    def client(self, method: str, parent: TraceContext, links: Sequence[TraceContext]) -> Span:
        """Start the span of a call to another service."""
        ...

    def internal(self, name: str, parent: TraceContext, links: Sequence[TraceContext]) -> Span:
        """Start the span of work inside the process."""
        ...


class NoopTracer:
    """A tracer that records nothing; the trace passes through unchanged."""

    def server(self, method: str, parent: TraceContext) -> Span:  # noqa: ARG002
        """Return a span that is not recorded."""
        return _NonRecordingSpan(parent)

    def client(
        self,
        method: str,  # noqa: ARG002
        parent: TraceContext,
        links: Sequence[TraceContext],  # noqa: ARG002
    ) -> Span:
        """Return a span that is not recorded."""
        return _NonRecordingSpan(parent)

    def internal(
        self,
        name: str,  # noqa: ARG002
        parent: TraceContext,
        links: Sequence[TraceContext],  # noqa: ARG002
    ) -> Span:
        """Return a span that is not recorded."""
        return _NonRecordingSpan(parent)


class _NonRecordingSpan:
    __slots__ = ("context",)

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    def end(self, code: str) -> None:
        pass
