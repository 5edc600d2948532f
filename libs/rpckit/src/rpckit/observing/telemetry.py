"""Metrics, on an HTTP port of their own, and traces of a process.

`rpckit.serving.process.run` makes one `Telemetry` and hands it to the service. The service asks it
for recorders, which are bound to their labels: keep them, and call them on the event loop's thread.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Self

import grpc
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.gc_collector import GCCollector

from rpckit.addresses import join_host_port
from rpckit.errors import StartupError
from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.metrics.instruments import Instruments
from rpckit.observing.metrics.recorders import (
    ClientRecorder,
    QueueRecorder,
    RpcRecorder,
    Stage,
)
from rpckit.observing.tracing.context import NoopTracer, Span, TraceContext, Tracer
from rpckit.security.watched_files import FileWatcher
from rpckit.settings.server import ServerSettings

log = logging.getLogger(__name__)


class Telemetry:
    """The metrics and the tracer of one process."""

    def __init__(self, program: str, tracer: Tracer | None = None) -> None:
        """Create the metrics of a program; nothing is exposed or sent yet.

        Args:
            program: Its name, as in `embedder_service`.
            tracer: Records spans. None records no spans.
        """
        self.registry = CollectorRegistry()
        self._tracer = tracer or NoopTracer()
        self.metrics_port: int | None = None
        """Port of the metrics' HTTP server, or None while it does not run."""
        self._instruments = Instruments(metrics.METRICS)
        self.registry.register(self._instruments)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._instruments.info(
            metrics.BUILD_INFO,
            program,
            version("marquee-rpckit"),
            platform.python_version(),
            grpc.__version__,
        )

    @classmethod
    @contextmanager
    def open(cls, program: str, settings: ServerSettings) -> Iterator[Self]:
        """Serve metrics and export traces as the settings say, until the context is left.

        Raises:
            StartupError: The metrics port is taken, or the settings ask for traces and the extra
                `otel` is not installed.
        """
        with _tracer(program, settings) as tracer:
            telemetry = cls(program, tracer)
            with telemetry._serve_metrics(settings.metrics_host, settings.metrics_port):
                yield telemetry

    def rpc(self, method: str) -> RpcRecorder:
        """Return the recorder of a method that this process serves."""
        return RpcRecorder(self._instruments, method)

    def server_span(self, method: str, trace: TraceContext) -> Span:
        """Start the span of a call that this process answers."""
        return self._tracer.server(method, trace)

    def admission(
        self, method: str, in_flight: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """Publish a method's number of calls in flight and its limit, read at each scrape."""
        self._instruments.gauge(metrics.RPC_IN_FLIGHT, method).source = in_flight
        self._instruments.gauge(metrics.RPC_LIMIT, method).source = limit

    def client(self, method: str) -> ClientRecorder:
        """Return the recorder of calls to a method of another service."""
        return ClientRecorder(self._instruments, self._tracer, method)

    def coalescer(self, name: str) -> QueueRecorder:
        """Return the observer of a coalescer."""
        return QueueRecorder(self._instruments, name)

    def stage(self, name: str) -> Stage:
        """Return the recorder of a kind of work, such as `paddle_predict`."""
        return Stage(self._instruments, self._tracer, name)

    def ready(self, service: str, ready: bool) -> None:
        """Publish a service's readiness."""
        self._instruments.gauge(metrics.READY, service).set(float(ready))

    def watched_files(self, watcher: FileWatcher[Any]) -> None:
        """Publish whether changes of files can be reloaded, read at each scrape."""
        self._instruments.counter(metrics.RELOAD_FAILURES, watcher.names).source = lambda: (
            watcher.failures
        )
        self._instruments.gauge(
            metrics.RELOAD_FAILING, watcher.names
        ).source = watcher.failing_seconds

    def model(self, *, name: str, version: str, objective: str, dimension: int) -> None:
        """Publish which model is loaded."""
        self._instruments.info(metrics.MODEL_INFO, name, version, objective, str(dimension))

    def index(self, *, name: str, model_version: str, movies: int) -> None:
        """Publish which index is active and how many movies it holds."""
        self._instruments.info(metrics.INDEX_INFO, name, model_version)
        self._instruments.gauge(metrics.INDEX_MOVIES).set(movies)

    @contextmanager
    def _serve_metrics(self, host: str, port: int | None) -> Iterator[None]:
        if port is None:
            yield
            return
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            reason = error.strerror or error
            address = join_host_port(host, port)
            raise StartupError(f"cannot serve metrics on {address}: {reason}") from None
        self.metrics_port = server.server_port
        log.info("metrics at http://%s/metrics", join_host_port(host, self.metrics_port))
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            self.metrics_port = None


@contextmanager
def _tracer(program: str, settings: ServerSettings) -> Iterator[Tracer]:
    if settings.otlp_endpoint is None:
        yield NoopTracer()
        return
    try:
        # An extra: a process that records no spans must neither need nor load OpenTelemetry.
        from rpckit.observing.tracing.otlp import exporting_tracer
    except ImportError:
        raise StartupError(
            "otlp_endpoint needs OpenTelemetry: pip install 'marquee-rpckit[otel]'"
        ) from None
    with exporting_tracer(program, settings.otlp_endpoint, settings.trace_sample_ratio) as tracer:
        yield tracer
