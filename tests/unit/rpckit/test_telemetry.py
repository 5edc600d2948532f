from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rpckit.coalescer import Coalescer
from rpckit.errors import DeadlineError, OverloadedError, StartupError
from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.metrics.instruments import Definition, Histogram, Instruments
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.security.tokens import TokenFile
from rpckit.security.watched_files import FileWatcher
from rpckit.settings.server import ServerSettings

METHOD = "kiosk.v1.Kiosk/Sell"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("kiosk")


def value(telemetry: Telemetry, sample: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(sample, labels)


def test_a_call_is_counted_by_method_code_and_caller_and_timed(telemetry: Telemetry) -> None:
    recorder = telemetry.rpc(METHOD)
    recorder.record("OK", 0.0002, "shop")
    recorder.record("OK", 0.3, "shop")
    recorder.record("OK", 0.3, "fair")
    recorder.record("INTERNAL", 0.3, "shop")
    requests = "marquee_rpc_server_requests_total"
    assert value(telemetry, requests, method=METHOD, code="OK", caller="shop") == 2
    assert value(telemetry, requests, method=METHOD, code="OK", caller="fair") == 1
    assert value(telemetry, requests, method=METHOD, code="INTERNAL", caller="shop") == 1
    duration = "marquee_rpc_server_duration_seconds"
    labels = {"method": METHOD, "code": "OK"}
    assert value(telemetry, f"{duration}_count", **labels) == 3
    assert value(telemetry, f"{duration}_sum", **labels) == pytest.approx(0.6002)
    assert value(telemetry, f"{duration}_bucket", le="0.0001", **labels) == 0
    assert value(telemetry, f"{duration}_bucket", le="0.00025", **labels) == 1
    assert value(telemetry, f"{duration}_bucket", le="0.5", **labels) == 3
    assert value(telemetry, f"{duration}_bucket", le="+Inf", **labels) == 3


def test_a_bucket_includes_its_upper_bound_and_infinity_the_rest() -> None:
    histogram = Histogram((1.0, 2.0))
    for observed in (1.0, 1.5, 2.0, 99.0):
        histogram.observe(observed)
    assert [number for suffix, _, number in histogram.samples() if suffix == "_bucket"] == [1, 3, 4]


def test_in_flight_calls_are_read_when_scraped(telemetry: Telemetry) -> None:
    calls = 3
    telemetry.admission(METHOD, lambda: calls, lambda: 100 * calls)
    calls = 5
    assert value(telemetry, "marquee_rpc_server_in_flight", method=METHOD) == 5
    assert value(telemetry, "marquee_rpc_server_in_flight_limit", method=METHOD) == 500


async def test_a_coalescer_publishes_its_wait_apart_from_its_work(telemetry: Telemetry) -> None:
    gate = asyncio.Event()

    async def work(items: list[int]) -> list[int]:
        await gate.wait()
        return items

    coalescer = Coalescer(
        work,
        name="till",
        max_batch=8,
        max_in_flight=1,
        max_queue=3,
        observer=telemetry.coalescer("till"),
    )
    deadline = asyncio.get_running_loop().time() + 30
    first = asyncio.create_task(coalescer.submit(0, deadline=deadline))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(coalescer.submit(n, deadline=deadline)) for n in (1, 2, 3)]
    await asyncio.sleep(0.05)
    assert value(telemetry, "marquee_queue_depth", queue="till") == 3
    assert value(telemetry, "marquee_queue_batches_in_flight", queue="till") == 1
    with pytest.raises(OverloadedError):
        await coalescer.submit(4, deadline=deadline)
    with pytest.raises(DeadlineError):
        await coalescer.submit(5, deadline=0)
    others[2].cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others[:2])

    assert value(telemetry, "marquee_queue_depth", queue="till") == 0
    assert value(telemetry, "marquee_queue_batch_size_count", queue="till") == 2
    assert value(telemetry, "marquee_queue_batch_size_sum", queue="till") == 3
    assert value(telemetry, "marquee_queue_wait_seconds_count", queue="till") == 3
    assert value(telemetry, "marquee_queue_wait_seconds_sum", queue="till") >= 0.1
    assert value(telemetry, "marquee_queue_work_seconds_count", queue="till") == 2
    for reason in ("overloaded", "expired", "cancelled"):
        dropped = value(telemetry, "marquee_queue_dropped_total", queue="till", reason=reason)
        assert dropped == 1, reason


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "OK"),
        (OverloadedError("full"), "RESOURCE_EXHAUSTED"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
        (asyncio.CancelledError(), "CANCELLED"),
        (
            grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()
            ),
            "UNAVAILABLE",
        ),
        (ZeroDivisionError(), "UNKNOWN"),
    ],
)
def test_a_call_to_the_next_hop_is_timed_under_its_status_code(
    telemetry: Telemetry, error: BaseException | None, code: str
) -> None:
    recorder = telemetry.client(METHOD)
    try:
        with recorder.call(TraceContext()):
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error  # noqa: PT017 - measuring must not swallow or replace it
    count = "marquee_rpc_client_duration_seconds_count"
    assert value(telemetry, count, method=METHOD, code=code) == 1


def test_a_stage_is_timed(telemetry: Telemetry) -> None:
    stage = telemetry.stage("paddle_predict")
    for _ in range(2):
        with stage.measure(TraceContext()):
            time.sleep(0.01)
    name = "marquee_stage_duration_seconds"
    assert value(telemetry, f"{name}_count", stage="paddle_predict") == 2
    assert 0.02 <= value(telemetry, f"{name}_sum", stage="paddle_predict") < 0.5


def test_a_new_model_or_index_replaces_the_old(telemetry: Telemetry) -> None:
    telemetry.model(name="fusion", version="v1", objective="rating", dimension=256)
    telemetry.model(name="fusion", version="v2", objective="rating", dimension=256)
    telemetry.index(name="movies", model_version="v2", movies=3883)
    labels = {"model": "fusion", "objective": "rating", "dimension": "256"}
    assert value(telemetry, "marquee_model_info", model_version="v1", **labels) is None
    assert value(telemetry, "marquee_model_info", model_version="v2", **labels) == 1
    assert value(telemetry, "marquee_index_info", index="movies", model_version="v2") == 1
    assert value(telemetry, "marquee_index_movies") == 3883


def test_readiness_follows_the_last_report(telemetry: Telemetry) -> None:
    telemetry.ready("kiosk.v1.Kiosk", True)
    telemetry.ready("kiosk.v1.Kiosk", False)
    assert value(telemetry, "marquee_ready", service="kiosk.v1.Kiosk") == 0


def test_failed_reloads_of_files_are_read_when_scraped(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text("gateway read 0123456789abcdef\n")
    path.chmod(0o600)
    watcher = FileWatcher([path], lambda: TokenFile(path), interval=0)
    telemetry.watched_files(watcher)
    failures, failing = "marquee_file_reload_failures_total", "marquee_file_reload_failing_seconds"
    assert value(telemetry, failures, files=str(path)) == 0
    assert value(telemetry, failing, files=str(path)) == 0
    path.unlink()
    watcher.get()
    watcher.get()
    assert value(telemetry, failures, files=str(path)) == 2
    assert value(telemetry, failing, files=str(path)) > 0


def test_a_wrong_number_of_labels_is_a_defect_found_at_once() -> None:
    definition = Definition("kiosk_sales_total", "counter", "Sales.", ("till",))
    instruments = Instruments((definition,))
    with pytest.raises(ValueError, match="kiosk_sales_total"):
        instruments.counter(definition)


def test_several_processes_worth_of_metrics_live_side_by_side() -> None:
    one, other = Telemetry("one"), Telemetry("other")
    one.rpc(METHOD).record("OK", 0.001, "shop")
    name = "marquee_rpc_server_requests_total"
    assert value(one, name, method=METHOD, code="OK", caller="shop") == 1
    assert value(other, name, method=METHOD, code="OK", caller="shop") is None


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return response.read().decode()


def test_metrics_are_served_while_the_process_runs_and_the_port_is_free_afterwards() -> None:
    with Telemetry.open("kiosk", ServerSettings(metrics_port=0)) as telemetry:
        port = telemetry.metrics_port
        assert port is not None
        telemetry.rpc(METHOD).record("OK", 0.001, "shop")
        text = scrape(port)
        families = {family.name for family in text_string_to_metric_families(text)}
        assert "marquee_rpc_server_duration_seconds" in families
        assert "process_resident_memory_bytes" in families
        assert 'program="kiosk"' in text
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert telemetry.metrics_port is None


def test_without_a_port_nothing_is_served() -> None:
    with Telemetry.open("kiosk", ServerSettings()) as telemetry:
        assert telemetry.metrics_port is None


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_metrics_are_served_on_ipv6(host: str) -> None:
    settings = ServerSettings(metrics_host=host, metrics_port=0)
    with Telemetry.open("kiosk", settings) as telemetry:
        page = urllib.request.urlopen(f"http://[::1]:{telemetry.metrics_port}/metrics", timeout=20)
        assert b"marquee_build_info" in page.read()


def test_a_taken_metrics_port_is_a_startup_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StartupError, match=f"cannot serve metrics on 127.0.0.1:{port}: "),
            Telemetry.open("kiosk", ServerSettings(metrics_port=port)),
        ):
            pass


@pytest.fixture(params=metrics.METRICS, ids=lambda metric: metric.name)
def definition(request: pytest.FixtureRequest) -> Definition:
    return request.param


def test_names_follow_prometheus_conventions(definition: Definition) -> None:
    assert definition.name.startswith("marquee_")
    assert definition.help.endswith(".")
    assert definition.name.endswith("_total") == (definition.kind == "counter")
    assert bool(definition.buckets) == (definition.kind == "histogram")
    assert list(definition.buckets) == sorted(set(definition.buckets))
    if definition.buckets and definition.name.endswith("_seconds"):
        assert definition.buckets[0] == 100e-6


def test_opentelemetry_is_not_imported_unless_spans_are_recorded() -> None:
    code = (
        "import sys; from rpckit.observing.telemetry import Telemetry; Telemetry('x');"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_tracing_without_its_extra_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rpckit.observing.tracing.otlp", None)
    settings = ServerSettings(otlp_endpoint="http://localhost:4317")
    with (
        pytest.raises(StartupError, match=r"pip install 'marquee-rpckit\[otel\]'"),
        Telemetry.open("kiosk", settings),
    ):
        pass
