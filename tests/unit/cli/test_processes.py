from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from marquee_cli.processes import Ports, Service

SLEEPER = """
import os, pathlib, signal, sys, time
print("about to sleep", flush=True)
pathlib.Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
time.sleep(120)
"""

PARENT = """
import os, pathlib, time
from marquee_cli.processes import Service
service = Service("sleeper", "sleeper", "127.0.0.1", 1)
service.start(dict(os.environ))
time.sleep(120)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    return {**os.environ, "PYTHONPATH": str(tmp_path), "PID_FILE": str(tmp_path / "pid")}


def pid_from(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@asynccontextmanager
async def busy() -> AsyncIterator[None]:
    """Call a server of this process from this process all the time."""

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    done = asyncio.Event()

    async def call_on(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary("/test.Echo/Echo")
        while not done.is_set():
            await call(b"", timeout=10)

    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(8):
            group.create_task(call_on(channel))
        await asyncio.sleep(0.1)
        yield
        done.set()
    await server.stop(None)


def test_free_ports_differ_and_given_ones_stay() -> None:
    ports = Ports(gateway=0, embedder=50051, search=0).resolved("127.0.0.1")
    assert ports.embedder == 50051
    assert len({ports.gateway, ports.embedder, ports.search}) == 3
    assert 0 not in (ports.gateway, ports.search)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a feature of Linux")
def test_a_service_does_not_outlive_a_parent_that_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], env=environment) as parent:
        child = pid_from(tmp_path / "pid")
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline, "the child is an orphan"
        time.sleep(0.02)


async def test_services_start_while_grpc_is_busy_in_this_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ending.py").write_text("")
    services = [Service("ending", "ending", "127.0.0.1", 1) for _ in range(20)]
    async with busy():
        for service in services:
            service.start({**os.environ, "PYTHONPATH": str(tmp_path)})
            await asyncio.sleep(0.002)
    for service in services:
        service.wait(30)
    # A fork of this process runs the handlers of gRPC, which say so or die of SIGSEGV.
    assert [service.status for service in services] == [0] * len(services)
    assert "fork" not in capfd.readouterr().err


def test_the_obituary_says_how_a_service_ended_and_its_last_words(
    environment: dict[str, str], tmp_path: Path
) -> None:
    service = Service("sleeper", "sleeper", "127.0.0.1", 1)
    service.start(environment, log=tmp_path / "log" / "sleeper.log")
    pid_from(tmp_path / "pid")
    assert service.status is None
    service.signal(signal.SIGTERM)
    service.wait(10)
    assert service.obituary() == "the sleeper ended by signal 15: about to sleep"


def test_a_service_that_does_not_stop_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    service = Service("sleeper", "sleeper", "127.0.0.1", 1)
    service.start(environment)
    pid_from(tmp_path / "pid")
    service.wait(0.1)
    assert service.status == -signal.SIGKILL
