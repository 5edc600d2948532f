"""What `Telemetry` hands out: recorders bound to their labels, cheap enough for every call.

They are called on the event loop's thread, as `rpckit.observing.metrics.instruments` demands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import grpc

from rpckit.coalescer import DropReason
from rpckit.errors import ServiceError
from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.metrics.instruments import Counter, Histogram, Instruments
from rpckit.observing.tracing.context import Span, TraceContext, Tracer, served


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
            seconds: From its arrival to its answer.
            caller: Name of the caller's token, or `anonymous`; there are as many as tokens.
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


class _Measured:
    """A span that is also timed; leaving it ends both, with the code of the exception if any."""

    __slots__ = ("_observe", "_span", "_started")

    def __init__(self, span: Span, observe: Callable[[str, float], None]) -> None:
        self._span = span
        self._observe = observe
        self._started = 0.0

    def __enter__(self) -> TraceContext:
        """Begin; return the place in the trace of what happens inside."""
        self._started = time.perf_counter()
        return self._span.context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        code = "OK" if error is None else _code(error)
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

    def call(self, *parents: TraceContext) -> _Measured:
        """Measure one call, made for one call or for a batch of several.

        Used as `with recorder.call(call.trace) as trace:`; `trace.metadata()` goes to the next hop.
        """
        return _Measured(self._tracer.client(self._method, parents), self._observe)

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

    def measure(self, *parents: TraceContext) -> _Measured:
        """Measure work done for one call or for a batch of several.

        Used as `with stage.measure(call.trace):`. Without parents it belongs to the calls that
        `rpckit.observing.tracing.context.on_behalf_of` names.
        """
        return _Measured(self._tracer.internal(self._name, parents or served()), self._observe)

    def _observe(self, code: str, seconds: float) -> None:  # noqa: ARG002 - the span says the code
        self._duration.observe(seconds)


class QueueRecorder:
    """Observes one coalescer; see rpckit.coalescer.Observer."""

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
        """Record a batch's size and its items' waits."""
        self._batch.observe(weight)
        for seconds in queue_seconds:
            self._wait.observe(seconds)

    def batch_finished(self, seconds: float) -> None:
        """Record a batch's work."""
        self._work.observe(seconds)

    def dropped(self, reason: DropReason) -> None:
        """Count an item that never began."""
        self._instruments.counter(metrics.QUEUE_DROPPED, self._name, reason).add()


def _code(error: BaseException) -> str:
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
