"""The code in rpckit's README works as it stands, on either host."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from rpckit.calling.channel import connect
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.call import Call
from rpckit.settings.client import ClientSettings

README = Path(__file__).parents[3] / "libs/rpckit/README.md"


def snippets() -> list[str]:
    """Return the two Python snippets of the README: a service, and a call of it."""
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


class Service:
    """A process of the service, started in the folder of its file."""

    def __init__(self, folder: Path, *flags: str) -> None:
        program, _ = snippets()
        (folder / "constant.py").write_text(program)
        self._log = folder / "log"
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "constant",
                    "--port",
                    "0",
                    "--shutdown-delay-s",
                    "0",
                    *flags,
                ],
                cwd=folder,
                stderr=stderr,
            )

    def target(self) -> str:
        """Return where it listens, once it does."""
        give_up = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < give_up:
            if match := re.search(r"listening on (127\.0\.0\.1:\d+)", self._log.read_text()):
                return match[1]
            time.sleep(0.02)
        pytest.fail(f"it does not listen: {self._log.read_text()}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def service(host: str, tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path, "--server", host, "--title", "Vertigo")
    try:
        yield started
    finally:
        started.end()


def test_the_service_of_the_readme_answers_refuses_and_stops(service: Service) -> None:
    with grpc.insecure_channel(service.target()) as channel:
        stub = RecommenderServiceStub(channel)
        response = stub.Recommend(pb.RecommendRequest(user={"age": 25}), timeout=10)
        assert [each.movie.title for each in response.recommendations] == ["Vertigo"]

        with pytest.raises(grpc.RpcError) as refused:
            stub.Recommend(pb.RecommendRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        bad = error_details_pb2.BadRequest()
        status = rpc_status.from_call(refused.value)
        assert any(detail.Unpack(bad) for detail in status.details)
        assert [violation.field for violation in bad.field_violations] == ["user"]

        with pytest.raises(grpc.RpcError) as unknown:
            stub.RankMovies(pb.RankMoviesRequest(), timeout=10)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED

        request = health_pb2.HealthCheckRequest(service="marquee.recommender.v1.RecommenderService")
        health = health_pb2_grpc.HealthStub(channel).Check(request, timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(20) == 0


async def test_the_call_of_another_service_in_the_readme_is_answered(service: Service) -> None:
    _, snippet = snippets()
    names = {"connect": connect, "SERVICE": pb.DESCRIPTOR.services_by_name["RecommenderService"]}
    arguments = {
        "settings": SimpleNamespace(recommender=ClientSettings(target=service.target())),
        "telemetry": Telemetry("test"),
        "request": pb.RecommendRequest(user={"age": 25}),
        "call": Call("test", "anonymous", time.monotonic() + 10, 0.02, TraceContext()),
    }
    body = textwrap.indent(snippet, "    ")
    exec(f"async def run({', '.join(arguments)}):\n{body}    return response", names)  # noqa: S102
    response = await names["run"](**arguments)
    assert response.recommendations[0].movie.title == "Vertigo"
