"""Recorders that `Telemetry` hands out: bound to their labels, cheap enough for every call.

Call them on the event loop's thread only, as `rpckit.observing.metrics.instruments` requires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import grpc

from rpckit.coalescer import DropReason, Observer
from rpckit.errors import ServiceError
from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.metrics.instruments import Counter, Histogram, Instruments
from rpckit.observing.tracing.context import Span, TraceContext, Tracer, current_traces


class RpcRecorder:
    """Counts and times the calls of one method; about half a microsecond each."""

    __slots__ = ("_cells", "_instruments", "_method")

    def __init__(self, instruments: Instruments, method: str) -> None:
        """See Telemetry.rpc."""
        self._instruments = instruments
        self._method = method
        self._cells: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def record(self, code: str, seconds: float, caller: str) -> None:
        """Record an answered call.

        Args:
            code: Name of its status, as in `OK`.
            seconds: Time from its arrival to its answer.
            caller: Name of the caller's token, or `anonymous`; a label, so there are few of them.
        """
        cell = self._cells.get((code, caller))
        if cell is None:
            cell = self._cells[code, caller] = (
                self._instruments.counter(metrics.RPC_REQUESTS, self._method, code, caller),
                self._instruments.histogram(metrics.RPC_DURATION, self._method, code),
            )
        requests, duration = cell
        requests.value += 1
        duration.observe(seconds)


class _TimedSpan:
    """A span that is also timed; an exception inside gives both their status code."""

    __slots__ = ("_observe", "_span", "_started")

    def __init__(self, span: Span, observe: Callable[[str, float], None]) -> None:
        self._span = span
        self._observe = observe
        self._started = 0.0

    def __enter__(self) -> TraceContext:
        """Start the clock; return the parent of the spans inside."""
        self._started = time.perf_counter()
        return self._span.context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = "OK" if error is None else _status_code(error)
        self._observe(code, time.perf_counter() - self._started)
        self._span.end(code)


class ClientRecorder:
    """Times and traces calls to one method of another service."""

    __slots__ = ("_durations", "_instruments", "_method", "_tracer")

    def __init__(self, instruments: Instruments, tracer: Tracer, method: str) -> None:
        """See Telemetry.client."""
        self._instruments = instruments
        self._tracer = tracer
        self._method = method
        self._durations: dict[str, Histogram] = {}

    def call(self, trace: TraceContext, links: Sequence[TraceContext] = ()) -> _TimedSpan:
        """Measure one call.

        Used as `with recorder.call(call.trace) as trace:`; `trace.metadata()` goes to the next hop.

        Args:
            trace: The trace that the call belongs to.
            links: The traces of the other calls of its batch.
        """
        return _TimedSpan(self._tracer.client(self._method, trace, links), self._observe)

    def _observe(self, code: str, seconds: float) -> None:
        duration = self._durations.get(code)
        if duration is None:
            duration = self._durations[code] = self._instruments.histogram(
                metrics.CLIENT_DURATION, self._method, code
            )
        duration.observe(seconds)


class Stage:
    """Times and traces one kind of work inside the process."""

    __slots__ = ("_duration", "_name", "_tracer")

    def __init__(self, instruments: Instruments, tracer: Tracer, name: str) -> None:
        """See Telemetry.stage."""
        self._tracer = tracer
        self._name = name
        self._duration = instruments.histogram(metrics.STAGE_DURATION, name)

    def measure(self, *traces: TraceContext) -> _TimedSpan:
        """Measure work that is done for one call or for a batch of them.

        Used as `with stage.measure(call.trace):`. The first trace is the span's parent, the others
        are links. Without traces, the current ones are taken (`use_traces`).
        """
        parent, *links = traces or current_traces() or (TraceContext(),)
        return _TimedSpan(self._tracer.internal(self._name, parent, links), self._observe)

    def _observe(self, code: str, seconds: float) -> None:  # noqa: ARG002 - the span has the code
        self._duration.observe(seconds)


class QueueRecorder(Observer):
    """Records one coalescer; see rpckit.coalescer.Observer."""

    __slots__ = ("_batch", "_dropped", "_instruments", "_name", "_wait", "_work")

    def __init__(self, instruments: Instruments, name: str) -> None:
        """See Telemetry.coalescer."""
        self._instruments = instruments
        self._name = name
        self._wait = instruments.histogram(metrics.QUEUE_WAIT, name)
        self._work = instruments.histogram(metrics.QUEUE_WORK, name)
        self._batch = instruments.histogram(metrics.QUEUE_BATCH, name)

    def watch(self, queued: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Publish the gauges, read at each scrape."""
        self._instruments.gauge(metrics.QUEUE_DEPTH, self._name).source = queued
        self._instruments.gauge(metrics.QUEUE_IN_FLIGHT, self._name).source = in_flight

    def batch_started(self, weight: int, queue_seconds: Sequence[float]) -> None:
        """Record the size of a batch and the waits of its items."""
        self._batch.observe(weight)
        for seconds in queue_seconds:
            self._wait.observe(seconds)

    def batch_finished(self, seconds: float) -> None:
        """Record the duration of a batch."""
        self._work.observe(seconds)

    def dropped(self, reason: DropReason) -> None:
        """Count an item that was dropped before any work."""
        self._instruments.counter(metrics.QUEUE_DROPPED, self._name, reason).add()


def _status_code(error: BaseException) -> str:
    match error:
        case ServiceError():
            return error.code.name
        case grpc.aio.AioRpcError():
            return error.code().name
        case asyncio.CancelledError():
            return grpc.StatusCode.CANCELLED.name
        case TimeoutError():
            return grpc.StatusCode.DEADLINE_EXCEEDED.name
        case _:
            return grpc.StatusCode.UNKNOWN.name
