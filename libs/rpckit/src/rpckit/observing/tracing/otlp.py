"""Spans recorded with OpenTelemetry and sent by OTLP; needs the extra `marquee-rpckit[otel]`.

Attributes follow https://opentelemetry.io/docs/specs/semconv/rpc/grpc/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, Status, StatusCode

from rpckit.observing.tracing.context import Span, TraceContext

_NUMBERS = {code.name: code.value[0] for code in grpc.StatusCode}
_SERVER_FAULTS = {
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
}

EXPORT_SECONDS = 2
"""Longest that sending one batch of spans may take, retries included. A collector that is away
holds up the end of a process that long for each batch that waits, of which four at most can."""


@contextmanager
def exporting(program: str, endpoint: str, sample_ratio: float) -> Iterator[OtelTracer]:
    """Yield a tracer whose spans go to an OTLP collector; send what is left on leaving.

    Args:
        program: The service.name of the spans.
        endpoint: URL of the collector's gRPC port; https means TLS.
        sample_ratio: Share of the traces begun here that are recorded; a caller's decision about
            its own trace is kept.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": program}),
        sampler=ParentBasedTraceIdRatio(sample_ratio),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=endpoint,
        insecure=not endpoint.startswith("https:"),
        timeout=EXPORT_SECONDS,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTracer(provider)
    finally:
        provider.shutdown()


class OtelTracer:
    """A Tracer that records."""

    def __init__(self, provider: TracerProvider) -> None:
        """Record with a provider; its owner shuts it down."""
        self._tracer = provider.get_tracer("rpckit")

    def server(self, method: str, parent: TraceContext) -> Span:
        """Begin to answer a call."""
        return self._start(method, SpanKind.SERVER, [parent], _rpc(method))

    def client(self, method: str, parents: Sequence[TraceContext]) -> Span:
        """Begin a call to another service, for one call or for a batch of several."""
        return self._start(method, SpanKind.CLIENT, parents, _rpc(method))

    def internal(self, name: str, parents: Sequence[TraceContext]) -> Span:
        """Begin work inside the process, for one call or for a batch of several."""
        return self._start(name, SpanKind.INTERNAL, parents, {})

    def _start(
        self,
        name: str,
        kind: SpanKind,
        parents: Sequence[TraceContext],
        attributes: dict[str, str],
    ) -> Span:
        contexts = [_span_context(parent) for parent in parents if parent.begun]
        below = Context()
        if contexts:
            below = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]), below)
        span = self._tracer.start_span(
            name,
            context=below,
            kind=kind,
            attributes=attributes,
            links=[trace.Link(context) for context in contexts[1:]],
        )
        return _Recorded(span, kind)


class _Recorded:
    __slots__ = ("_kind", "_span", "context")

    def __init__(self, span: trace.Span, kind: SpanKind) -> None:
        self._span = span
        self._kind = kind
        here = span.get_span_context()
        self.context = TraceContext(
            f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}",
            here.trace_state.to_header(),
        )

    def end(self, code: str) -> None:
        if self._kind is not SpanKind.INTERNAL:
            self._span.set_attribute("rpc.grpc.status_code", _NUMBERS[code])
        if code != "OK" and (self._kind is not SpanKind.SERVER or code in _SERVER_FAULTS):
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


def _rpc(method: str) -> dict[str, str]:
    service, _, name = method.partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _span_context(context: TraceContext) -> trace.SpanContext:
    _, trace_id, span_id, flags = context.traceparent.split("-")[:4]
    return trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(flags, 16)),
        trace_state=trace.TraceState.from_header([context.tracestate]),
    )
