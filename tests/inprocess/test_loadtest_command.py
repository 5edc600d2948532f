"""`marquee bench`, the echo and the launcher as processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.fixtures.results import measured

from loadtest import resources
from loadtest.bench import credentials
from loadtest.bench.configurations import accepts, default_environment
from loadtest.bench.memory import slope
from loadtest.histogram import Latencies
from loadtest.job import Job, Requests
from loadtest.load import ClosedLoop
from loadtest.results import Results
from loadtest.wire import driver as wire
from loadtest.workload import METHODS, Workload
from marquee_cli.commands.bench.sets import kept
from suite.parent_death import with_parent_death_signal
from suite.ports import free_ports
from suite.process import ProcessError
from suite.server_process import ServerProcess


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        with_parent_death_signal(
            [sys.executable, "-m", "marquee_cli", "bench", *map(str, arguments)]
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[ServerProcess]:
    reply = tmp_path / "reply.bin"
    reply.write_bytes(b"the same bytes")
    server = ServerProcess(
        "echo",
        "loadtest.bench.echo",
        free_ports(1)[0],
        [f"--reply={METHODS['EmbedUsers']}={reply}"],
    )
    with server.running(default_environment(), log=tmp_path / "echo.log") as echo:
        yield echo


def test_a_curve_is_driven_printed_and_written(echo: ServerProcess, tmp_path: Path) -> None:
    target = echo.endpoint.target
    out = tmp_path / "new" / "run.json"
    answer = bench(
        "run", "Recommend:3,EmbedUsers:1", "--target", target, "--embedder-target", target,
        "--rate", "50,100", "--duration", "0.5", "--warm-up", "0.1", "--zipf", "1.1", "--out", out,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "EmbedUsers" in answer.stdout
    results = Results.read(out)
    assert [each.load for each in results.measurements] == ["50/s", "100/s"]
    assert all(each.calls and not each.failed for each in results.measurements)
    assert set(results.measurements[0].cpu_s) == {"RecommenderService", "EmbedderService"}
    assert out.with_suffix(".html").read_text().count("<svg") >= 2


def test_two_runs_are_compared(echo: ServerProcess, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    bench("run", "--target", echo.endpoint.target, "-c", "4", "--duration", "0.3", "--out", out)
    answer = bench("compare", out, out, "--strict")
    assert answer.returncode == 0, answer.stderr
    assert "Recommend at 4 callers" in answer.stdout
    slower = tmp_path / "slower.json"
    content = json.loads(out.read_text())
    content["measurements"][0]["duration_s"] *= 2
    slower.write_text(json.dumps(content))
    answer = bench("compare", out, slower, "--strict")
    assert answer.returncode == 1
    assert "became worse" in answer.stderr
    assert "-50.0%" in answer.stdout


@pytest.mark.parametrize(
    "ratio",
    ["idle_p50_vs_floor_resident", "p99_at_70_vs_idle_p50_all_envoy", "milvus_search_cost_tenfold"],
)
def test_a_strict_comparison_fails_when_a_cost_grows(ratio: str, tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    Results("before", ratios={ratio: 2.0}).write(before)
    Results("after", ratios={ratio: 3.0}).write(after)
    answer = bench("compare", before, after, "--strict")
    assert answer.returncode == 1
    assert "1 figures became worse" in answer.stderr
    assert bench("compare", after, before, "--strict").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("published", "--bundle", "/nowhere"),
        ("growth", "--lite-sizes", "", "--milvus-server", "no"),
    ],
    ids=["fails", "has no store"],
)
def test_a_set_that_measures_nothing_leaves_the_last_results_alone(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    out.write_text("of the last run")
    answer = bench(*arguments, "--work", tmp_path / "work", "--out", out)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith("marquee: ")
    assert out.read_text() == "of the last run"
    assert {each.name for each in tmp_path.iterdir()} <= {"results.json", "work"}


def test_what_was_measured_before_a_failure_is_kept_beside_the_last_results(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results.json"
    out.write_text("of the last run")
    results = Results("a set")

    def failing() -> None:
        with kept(results, out):
            results.measurements.append(measured())
            raise ProcessError("the embedder ended")

    with pytest.raises(ProcessError):
        failing()
    assert out.read_text() == "of the last run"
    assert Results.read(tmp_path / "results-incomplete.json").measurements
    with kept(results, out):
        pass
    assert Results.read(out).measurements


def test_a_run_is_published_without_its_histograms(echo: ServerProcess, tmp_path: Path) -> None:
    run, out = tmp_path / "run.json", tmp_path / "docs" / "published.json"
    bench("run", "--target", echo.endpoint.target, "-c", "4", "--duration", "0.3", "--out", run)
    answer = bench("publish", run, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert "not measured in it: coalescing_gain" in answer.stderr
    (before,), (after,) = Results.read(run).measurements, Results.read(out).measurements
    assert not after.methods["Recommend"].histogram
    assert after.percentile_ms(99) == before.percentile_ms(99)
    assert bench("compare", run, out, "--strict").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "Nothing"), "there are Recommend"),
        (("run", "-c", "many"), "--concurrency takes numbers"),
        (("run", "--rate", "-1"), "above 0"),
        (("run", "--target", "127.0.0.1:1"), "127.0.0.1:1"),
        (("run", "--rate", "5", "--client", "h2load", "--target", "ECHO"), "closed loop"),
        (("run", "--client", "grpcio", "--target", "ECHO"), "there are wire, h2load"),
        (("compare", "absent.json", "absent.json"), "absent.json"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    echo: ServerProcess, arguments: tuple[str, ...], words: str
) -> None:
    answer = bench(*(echo.endpoint.target if each == "ECHO" else each for each in arguments))
    assert answer.returncode == 1
    assert answer.stderr.startswith("marquee: ")
    assert answer.stderr.count("\n") == 1
    assert words in answer.stderr


def test_the_echo_returns_the_bytes_that_it_was_given(echo: ServerProcess) -> None:
    with grpc.insecure_channel(echo.endpoint.target) as channel:
        call = channel.unary_unary(f"/{METHODS['EmbedUsers']}")
        assert call(b"anything", timeout=5) == b"the same bytes"


def test_a_process_is_ready_inside_and_gone_outside(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = ServerProcess("echo", "loadtest.bench.echo", port)
    with server.running(default_environment(), log=tmp_path / "echo.log") as process:
        assert resources.listener(port) == process.pid
        assert resources.resident_bytes(process.pid) > 2**20
    assert resources.resident_bytes(process.pid) == 0
    assert resources.listener(port) is None


def test_a_process_that_ends_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    server = ServerProcess("broken", "loadtest.bench.echo", free_ports(1)[0], ["--no-such-flag"])
    begun = time.monotonic()
    with (
        pytest.raises(ProcessError, match=r"the broken ended with status 2: .*--no-such-flag"),
        server.running(default_environment(), log=tmp_path / "broken.log"),
    ):
        pass
    assert time.monotonic() - begun < 60


def test_settings_that_a_service_does_not_have_are_found_beforehand() -> None:
    assert accepts("gateway", ["--max-batch=1"])
    assert not accepts("gateway", ["--no-such-setting=1"])


def test_tls_and_tokens_are_as_the_settings_say(tmp_path: Path) -> None:
    files = credentials.create(tmp_path)
    seen: set[str] = set()

    class Reading(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails):
            seen.update(v for k, v in details.invocation_metadata if k == "authorization")
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"x" * 50_000)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Reading()])
    pair = [(files.key.read_bytes(), files.cert.read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    server.start()
    endpoint = files.endpoint(f"127.0.0.1:{port}")
    job = Job({"Recommend": endpoint}, Workload(), ClosedLoop(4), duration=0.5, warm_up=0.1)
    try:
        outcome = wire.drive(job, Requests.of(job), lambda: time.perf_counter() + 0.01)
    finally:
        server.stop(None).wait()
    answered = outcome.methods["Recommend"]
    assert not answered.failures
    assert Latencies.decode(answered.latencies).count > 10
    assert seen == {f"Bearer {files.token.read_text()}"}


def test_secrets_of_a_secured_run_are_readable_by_its_owner_only(tmp_path: Path) -> None:
    files = credentials.create(tmp_path)
    for secret in (files.key, files.token, files.grants):
        assert secret.stat().st_mode & 0o077 == 0


def test_memory_that_grows_with_the_calls_has_a_slope_and_settling_has_none() -> None:
    growing = [(calls, 100 + calls / 50_000) for calls in range(0, 200_001, 20_000)]
    assert slope(growing, 50_000) == pytest.approx(2.0)
    settling = [(calls, 100.0 if calls >= 40_000 else 60.0) for calls in range(0, 200_001, 20_000)]
    assert slope(settling, 50_000) == pytest.approx(0.0)
    assert slope(growing[:1], 0) == 0.0
