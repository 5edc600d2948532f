"""Spans on their way to a collector, over real OTLP."""

from __future__ import annotations

import time

from tests.fixtures.collector import Collector

from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.settings.server import ServerSettings

METHOD = "kiosk.v1.Kiosk/Sell"


def record_spans(settings: ServerSettings, count: int) -> None:
    with Telemetry.open("kiosk", settings) as telemetry:
        for _ in range(count):
            telemetry.server_span(METHOD, TraceContext()).end("OK")


def test_spans_reach_the_collector_when_the_process_ends(collector: Collector) -> None:
    record_spans(ServerSettings(otlp_endpoint=collector.endpoint), 3)
    assert [(span.program, span.name) for span in collector.spans] == [("kiosk", METHOD)] * 3


def test_only_the_sampled_share_is_recorded(collector: Collector) -> None:
    record_spans(ServerSettings(otlp_endpoint=collector.endpoint, trace_sample_ratio=0), 3)
    assert collector.spans == []


def test_an_unreachable_collector_does_not_delay_the_end() -> None:
    started = time.monotonic()
    record_spans(ServerSettings(otlp_endpoint="http://127.0.0.1:1"), 1)
    assert time.monotonic() - started < 5
