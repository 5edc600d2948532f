"""Spans on their way to a collector, over real OTLP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as collector_grpc

from rpckit.settings import ServerSettings
from rpckit.telemetry import Telemetry
from rpckit.tracing import TraceContext

METHOD = "kiosk.v1.Kiosk/Sell"


class Collector(collector_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        """(service.name, span's name) of each span."""

    def Export(
        self, request: collector_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> collector_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            (program,) = (
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.received += ((program, span.name) for span in scope.spans)
        return collector_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[Collector]:
    servicer = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    collector_grpc.add_TraceServiceServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer
    server.stop(None).wait()


def record_spans(settings: ServerSettings, count: int) -> None:
    with Telemetry.open("kiosk", settings) as telemetry:
        for _ in range(count):
            telemetry.server_span(METHOD, TraceContext()).end("OK")


def test_spans_reach_the_collector_when_the_process_ends(collector: Collector) -> None:
    endpoint = f"http://127.0.0.1:{collector.port}"
    record_spans(ServerSettings(otlp_endpoint=endpoint), 3)
    assert collector.received == [("kiosk", METHOD)] * 3


def test_only_the_share_that_is_asked_for_is_recorded(collector: Collector) -> None:
    endpoint = f"http://127.0.0.1:{collector.port}"
    record_spans(ServerSettings(otlp_endpoint=endpoint, trace_sample_ratio=0), 3)
    assert collector.received == []


def test_a_collector_that_is_away_does_not_hold_up_the_end() -> None:
    started = time.monotonic()
    record_spans(ServerSettings(otlp_endpoint="http://127.0.0.1:1"), 1)
    assert time.monotonic() - started < 5
