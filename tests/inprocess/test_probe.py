from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from tests.fixtures.certificates import issue, write_ca, write_pair

from rpckit import probe

READY = "marquee.embedder.v1.EmbedderService"
STOPPING = "marquee.search.v1.SearchService"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CA", "CERT", "KEY", "SERVER_NAME"):
        monkeypatch.delenv(f"MARQUEE_PROBE_TLS_{name}", raising=False)


@pytest.fixture
def health() -> HealthServicer:
    servicer = HealthServicer()
    servicer.set(READY, health_pb2.HealthCheckResponse.SERVING)
    servicer.set(STOPPING, health_pb2.HealthCheckResponse.NOT_SERVING)
    return servicer


@pytest.fixture
def target(health: HealthServicer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_serving_server_gives_exit_code_0(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([target]) == 0
    assert capsys.readouterr() == (f"{target}: SERVING\n", "")


def test_a_server_on_ipv6_is_probed(
    health: HealthServicer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("[::1]:0")
    server.start()
    try:
        assert probe.main([f"[::1]:{port}"]) == 0
        assert probe.main([f"::1:{port}"]) == 1
        assert f"write [::1]:{port}" in capsys.readouterr().err
    finally:
        server.stop(None).wait()


def test_a_url_is_refused_with_the_right_spelling(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([f"http://{target}"]) == 1
    assert capsys.readouterr().err == (
        f"http://{target}: a gRPC target has no http://: write {target}\n"
    )


def test_a_service_is_asked_for_by_its_full_name(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([target, "--service", READY]) == 0
    assert probe.main([target, "--service", STOPPING]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{target} {READY}: SERVING\n"
    assert printed.err == f"{target} {STOPPING}: NOT_SERVING\n"


def test_an_unknown_service_is_a_failure_that_says_so(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([target, "--service", "marquee.Nothing"]) == 1
    assert capsys.readouterr().err.startswith(f"{target} marquee.Nothing: NOT_FOUND")


def test_a_refused_connection_is_a_failure_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["127.0.0.1:1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("127.0.0.1:1: UNAVAILABLE")
    assert error.count("\n") == 1


def test_a_server_that_never_answers_is_a_failure_after_the_timeout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Silent(HealthServicer):  # type: ignore[misc]
        def Check(self, request: object, context: grpc.ServicerContext) -> object:
            asked.set()
            done.wait(10)
            return health_pb2.HealthCheckResponse()

    asked, done = threading.Event(), threading.Event()
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(Silent(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert probe.main([f"127.0.0.1:{port}", "--timeout", "0.2"]) == 1
        assert asked.is_set()
        assert "DEADLINE_EXCEEDED" in capsys.readouterr().err
    finally:
        done.set()
        server.stop(None).wait()


def test_waiting_ends_as_soon_as_the_service_is_ready(target: str, health: HealthServicer) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    timer = threading.Timer(0.2, health.set, (STOPPING, serving))
    timer.start()
    try:
        assert probe.main([target, "--service", STOPPING, "--wait", "20"]) == 0
    finally:
        timer.join()


def test_waiting_is_bounded(target: str) -> None:
    assert probe.main([target, "--service", STOPPING, "--wait", "0.1"]) == 1


class TestTls:
    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path, Path]:
        """The authority of both sides, and the certificate and key that both use."""
        ca = trustme.CA()
        pair = write_pair(issue(ca, "probed.test"), tmp_path, "probed")
        return write_ca(ca, tmp_path), *pair

    @pytest.fixture
    def target(self, health: HealthServicer, files: tuple[Path, Path, Path]) -> Iterator[str]:
        """A server that wants a certificate of its clients."""
        ca, cert, key = (file.read_bytes() for file in files)
        credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=True)
        server = grpc.server(ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()

    def test_mutual_tls_works_with_the_files_of_the_flags(
        self, target: str, files: tuple[Path, Path, Path]
    ) -> None:
        ca, cert, key = map(str, files)
        flags = ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key]
        assert probe.main([target, *flags, "--tls-server-name", "probed.test"]) == 0
        assert probe.main([target, *flags, "--tls-server-name", "other.test"]) == 1
        assert probe.main([target]) == 1

    def test_the_files_can_come_from_the_environment(
        self, target: str, files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MARQUEE_PROBE_TLS_CA", str(files[0]))
        monkeypatch.setenv("MARQUEE_PROBE_TLS_CERT", str(files[1]))
        monkeypatch.setenv("MARQUEE_PROBE_TLS_KEY", str(files[2]))
        monkeypatch.setenv("MARQUEE_PROBE_TLS_SERVER_NAME", "probed.test")
        assert probe.main([target]) == 0

    def test_a_missing_file_is_a_failure_on_one_line(
        self, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert probe.main([target, "--tls-ca", str(tmp_path / "no.pem")]) == 1
        error = capsys.readouterr().err
        assert "no.pem" in error
        assert error.count("\n") == 1
