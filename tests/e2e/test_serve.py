from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import trustme
from tests.e2e.conftest import Built, Running, marquee, serving
from tests.fixtures.certificates import issue, write_ca, write_pair

from rpckit import probe


@pytest.fixture
def running(built: Built, tmp_path: Path):
    """Services of this test's own, without an index."""
    with serving(built.bundle, tmp_path / "milvus.db", tmp_path / "log") as running:
        yield running


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_cleanly(running: Running, signum: signal.Signals) -> None:
    pids = running.pids()
    assert len(pids) == 3
    running.process.send_signal(signum)
    assert running.process.wait(30) == 0
    assert not any(map(is_running, pids))


def test_a_hangup_of_its_terminal_stops_everything_cleanly(built: Built, tmp_path: Path) -> None:
    before = ["env", "--default-signal=HUP"]  # whatever runs the tests may ignore it
    with serving(built.bundle, tmp_path / "milvus.db", tmp_path / "log", before=before) as running:
        pids = running.pids()
        running.process.send_signal(signal.SIGHUP)
        assert running.process.wait(30) == 0
    assert not any(map(is_running, pids))


def test_with_nohup_it_outlives_its_terminal(built: Built, tmp_path: Path) -> None:
    with serving(
        built.bundle, tmp_path / "milvus.db", tmp_path / "log", before=["nohup"]
    ) as running:
        pids = running.pids()
        for pid in (running.process.pid, *pids):
            os.kill(pid, signal.SIGHUP)
        time.sleep(1)
        assert all(map(is_running, pids))
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
    assert not any(map(is_running, pids))


def test_a_killed_command_leaves_no_orphans(running: Running) -> None:
    pids = running.pids()
    running.process.kill()
    wait_until_gone(pids)


def test_a_service_that_dies_takes_the_others_along(running: Running, tmp_path: Path) -> None:
    pids = running.pids()
    os.kill(pids[0], signal.SIGKILL)
    assert running.process.wait(30) == 1
    wait_until_gone(pids)
    assert "marquee: the embedder ended by signal 9" in (tmp_path / "log").read_text()


def test_with_tls_it_starts_when_it_knows_the_authority(built: Built, tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = str(write_ca(authority, tmp_path))
    cert, key = map(str, write_pair(issue(authority, "marquee.test"), tmp_path, "server"))
    variables = {"MARQUEE_GATEWAY_EMBEDDER_TLS_CA": ca, "MARQUEE_GATEWAY_SEARCH_TLS_CA": ca}
    for service in ("EMBEDDER", "SEARCH", "GATEWAY"):
        variables[f"MARQUEE_{service}_TLS_CERT"] = cert
        variables[f"MARQUEE_{service}_TLS_KEY"] = key
    refused = marquee("serve", "all", "--bundle", built.bundle, **variables)
    assert_one_line(refused.returncode, refused.stderr, "--tls-ca")
    database, log, connection = tmp_path / "milvus.db", tmp_path / "log", ["--tls-ca", ca]
    with serving(built.bundle, database, log, connection=connection, **variables) as running:
        assert probe.main([running.gateway, *connection]) == 0
        assert probe.main([running.gateway]) == 1


def test_without_an_index_the_gateway_is_there_and_says_that_it_is_not_ready(
    running: Running,
) -> None:
    step = marquee("recommend", "--target", running.gateway)
    assert step.returncode == 1
    assert step.stderr.startswith("marquee: ")
    assert step.stderr.count("\n") == 1


def test_milvus_lite_serves_one_process_at_a_time(
    running: Running, built: Built, tmp_path: Path
) -> None:
    step = marquee(
        "serve",
        "search",
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--milvus-uri",
        tmp_path / "milvus.db",
    )
    assert_one_line(step.returncode, step.stderr, "milvus.db")


def test_a_port_that_is_taken_is_said_to_be(built: Built, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        step = marquee(
            "serve", "embedder", "--port", port, "--metrics-port", "0", "--bundle", built.bundle
        )
        assert_one_line(step.returncode, step.stderr, port)


def test_a_bundle_that_is_missing_or_damaged_is_said_to_be(built: Built, tmp_path: Path) -> None:
    missing = marquee(
        "serve", "embedder", "--port", "0", "--metrics-port", "0", "--bundle", tmp_path / "none"
    )
    assert_one_line(missing.returncode, missing.stderr, "none")
    damaged = tmp_path / "bundle"
    shutil.copytree(built.bundle, damaged)
    (damaged / "user.pdiparams").write_bytes(b"something else")
    step = marquee("serve", "embedder", "--port", "0", "--metrics-port", "0", "--bundle", damaged)
    assert_one_line(step.returncode, step.stderr, "user.pdiparams")


def test_serve_all_ends_where_one_service_cannot_start(tmp_path: Path) -> None:
    step = marquee(
        *("serve", "all", "--port", "0", "--embedder-port", "0", "--search-port", "0"),
        *("--bundle", tmp_path / "none", "--milvus-uri", tmp_path / "milvus.db"),
    )
    assert step.returncode == 1
    assert "Traceback" not in step.stderr
    assert step.stderr.splitlines()[-1].startswith("marquee: the embedder ended with status 1")


def assert_one_line(status: int, stderr: str, words: str) -> None:
    """See that a service said in one line, which is no log record, why it does not run."""
    assert status not in (0, None)
    lines = [line for line in stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, stderr
    assert words in lines[0]
