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

EXPORT_TIMEOUT_SECONDS = 2
"""Timeout of the export of one batch of spans, retries included. While the collector is down, each
waiting batch delays the end of the process by this time; at most four batches wait."""


@contextmanager
def exporting_tracer(program: str, endpoint: str, sample_ratio: float) -> Iterator[OtelTracer]:
    """Yield a tracer that exports to an OTLP collector; flush its spans on leaving.

    Args:
        program: The service.name of the spans.
        endpoint: URL of the collector's gRPC port; https means TLS.
        sample_ratio: Share of the traces started here that are recorded. The sampling decision of
            a caller's trace is kept.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": program}),
        sampler=ParentBasedTraceIdRatio(sample_ratio),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=endpoint,
        insecure=not endpoint.startswith("https:"),
        timeout=EXPORT_TIMEOUT_SECONDS,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTracer(provider)
    finally:
        provider.shutdown()


class OtelTracer:
    """A Tracer that records spans with OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        """Record with a provider, which its owner shuts down."""
        self._tracer = provider.get_tracer("rpckit")

    def server(self, method: str, parent: TraceContext) -> Span:
        """Start the span of a call that this process answers."""
        return self._start(method, SpanKind.SERVER, [parent], _rpc_attributes(method))

    def client(self, method: str, parent: TraceContext, links: Sequence[TraceContext]) -> Span:
        """Start the span of a call to another service."""
        return self._start(method, SpanKind.CLIENT, [parent, *links], _rpc_attributes(method))

    def internal(self, name: str, parent: TraceContext, links: Sequence[TraceContext]) -> Span:
        """Start the span of work inside the process."""
        return self._start(name, SpanKind.INTERNAL, [parent, *links], {})

    def _start(
        self,
        name: str,
        kind: SpanKind,
        traces: Sequence[TraceContext],
        attributes: dict[str, str],
    ) -> Span:
        contexts = [_span_context(context) for context in traces if context.has_ids]
        parent = Context()
        if contexts:
            parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]), parent)
        span = self._tracer.start_span(
            name,
            context=parent,
            kind=kind,
            attributes=attributes,
            links=[trace.Link(context) for context in contexts[1:]],
        )
        return _RecordingSpan(span, kind)


class _RecordingSpan:
    __slots__ = ("_kind", "_span", "context")

    def __init__(self, span: trace.Span, kind: SpanKind) -> None:
        self._span = span
        self._kind = kind
        context = span.get_span_context()
        self.context = TraceContext(
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}",
            context.trace_state.to_header(),
        )

    def end(self, code: str) -> None:
        if self._kind is not SpanKind.INTERNAL:
            self._span.set_attribute("rpc.grpc.status_code", _NUMBERS[code])
        if code != "OK" and (self._kind is not SpanKind.SERVER or code in _SERVER_FAULTS):
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


def _rpc_attributes(method: str) -> dict[str, str]:
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
