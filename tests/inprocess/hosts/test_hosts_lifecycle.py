"""How a server starts and stops, the same on either host."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.fixtures.puppet import SERVICE
from tests.inprocess.hosts.processes import (
    NOT_SERVING,
    SERVING,
    PuppetProcess,
    command,
    connected,
)

from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from rpckit.calling.service_config import service_config


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0(
    start: Callable[..., PuppetProcess], signum: signal.Signals
) -> None:
    puppet = start()
    assert puppet.target
    assert puppet.stop_by(signum) == 0


def test_a_failed_start_is_one_line_and_exit_code_1(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(refuse_to_start="there is no bundle")
    assert puppet.wait(20) == 1
    assert puppet.log == "puppet: there is no bundle\n"


def test_a_taken_port_is_one_line_and_exit_code_1(start: Callable[..., PuppetProcess]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        puppet = start(port=port)
        assert puppet.wait(20) == 1
    [line] = puppet.log.splitlines()
    assert line.startswith(f"puppet: cannot listen on 127.0.0.1:{port}: the port is taken")


@pytest.mark.parametrize("address", ["::1", "[::1]", "::"])
async def test_it_listens_on_ipv6_in_either_spelling(
    address: str, start: Callable[..., PuppetProcess]
) -> None:
    puppet = start(host=address, insecure="true")
    assert puppet.target.startswith("[::")
    port = puppet.target.rpartition(":")[2]
    for target in [f"[::1]:{port}", *([f"127.0.0.1:{port}"] if address == "::" else [])]:
        async with connected(target) as channel:
            await EmbedderServiceStub(channel).EmbedMovies(command("echo"))


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestSocket:
    """Listening on a Unix socket."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "puppet.sock"

    @pytest.mark.parametrize("mode", ["660", "0606"])
    async def test_it_listens_with_the_permissions_of_the_settings(
        self, mode: str, path: Path, start: Callable[..., PuppetProcess]
    ) -> None:
        puppet = start(host=f"unix:{path}", socket_mode=mode)
        assert puppet.target == f"unix:{path}"
        assert permissions(path) == int(mode, 8)
        async with connected(puppet.target) as channel:
            await EmbedderServiceStub(channel).EmbedMovies(command("echo"))
        assert puppet.stop_by(signal.SIGTERM) == 0

    def test_two_servers_never_share_one_but_a_dead_ones_is_taken_over(
        self, path: Path, start: Callable[..., PuppetProcess]
    ) -> None:
        first = start(host=f"unix:{path}")
        assert first.target
        second = start(host=f"unix:{path}")
        assert second.wait(20) == 1
        assert second.log == f"puppet: cannot listen on unix:{path}: a server listens there\n"
        first.kill()
        first.wait(20)
        assert start(host=f"unix:{path}").target == f"unix:{path}"

    def test_a_file_is_never_replaced(
        self, path: Path, start: Callable[..., PuppetProcess]
    ) -> None:
        path.write_text("precious")
        puppet = start(host=f"unix:{path}")
        assert puppet.wait(20) == 1
        assert puppet.log == f"puppet: cannot listen on unix:{path}: the file is not a socket\n"
        assert path.read_text() == "precious"


def test_two_servers_never_share_a_port(start: Callable[..., PuppetProcess]) -> None:
    _, _, port = start().target.rpartition(":")
    second = start(port=port)
    assert second.wait(20) == 1
    assert "the port is taken" in second.log


async def test_it_stops_in_two_phases_and_finishes_the_calls_in_progress(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(shutdown_delay_s=0.6, shutdown_grace_s=10)
    async with connected(puppet.target) as channel, connected(puppet.target) as other:
        stub = EmbedderServiceStub(channel)
        health = health_pb2_grpc.HealthStub(other)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
        assert (await watch.read()).status == SERVING
        begun = stub.EmbedMovies(command("sleep 1.5"), timeout=10)
        await asyncio.sleep(0.2)

        puppet.send_signal(signal.SIGTERM)
        async with asyncio.timeout(0.5):
            assert (await watch.read()).status == NOT_SERVING
        # First phase: not ready, but who comes is served, and it is alive.
        await stub.EmbedMovies(command("echo still"))
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING

        await asyncio.sleep(0.9)
        # Second phase: nobody new, and those under way finish.
        async with connected(puppet.target) as late:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await EmbedderServiceStub(late).GetModel(pb.GetModelRequest(), timeout=2)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        await begun
    assert await asyncio.to_thread(puppet.wait, 10) == 0


async def test_calls_that_outlast_the_grace_are_cancelled(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(shutdown_grace_s=0.3, default_deadline_s=60)
    async with connected(puppet.target) as channel:
        call = EmbedderServiceStub(channel).EmbedMovies(command("sleep 60"))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        assert await asyncio.to_thread(puppet.stop_by, signal.SIGTERM) == 0
        assert time.monotonic() - started < 5
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_watches_do_not_delay_the_stop(start: Callable[..., PuppetProcess]) -> None:
    puppet = start(shutdown_grace_s=30)
    async with connected(puppet.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
        assert (await watch.read()).status == SERVING
        started = time.monotonic()
        assert await asyncio.to_thread(puppet.stop_by, signal.SIGTERM) == 0
        assert time.monotonic() - started < 5


async def test_a_stop_under_load_fails_no_call(start: Callable[..., PuppetProcess]) -> None:
    stopping, staying = start(shutdown_delay_s=0.5), start()
    target = f"ipv4:{stopping.target},{staying.target}"
    answered = 0
    ended = False

    async def caller(stub: EmbedderServiceStub) -> None:
        nonlocal answered
        while not ended:
            await stub.EmbedUsers(pb.EmbedUsersRequest(users=[{"user_id": 1}]), timeout=5)
            answered += 1

    options = [
        ("grpc.service_config", service_config([SERVICE])),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(target, options) as channel:
        stub = EmbedderServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(caller(stub))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(stopping.stop_by, signal.SIGTERM) == 0
            await asyncio.sleep(0.2)
            ended = True
    assert answered > 100


async def test_connections_age_without_failing_a_call(start: Callable[..., PuppetProcess]) -> None:
    puppet = start(max_connection_age_s=0.5)
    async with counted(puppet.target) as (target, connections), connected(target) as channel:
        stub = EmbedderServiceStub(channel)
        give_up = time.monotonic() + 5
        while len(connections) < 3:
            await stub.EmbedUsers(pb.EmbedUsersRequest(users=[{"user_id": 1}]), timeout=5)
            assert time.monotonic() < give_up, f"{len(connections)} connections"


@asynccontextmanager
async def counted(target: str) -> AsyncIterator[tuple[str, list[object]]]:
    """A proxy that keeps count of the connections."""
    host, _, port = target.rpartition(":")
    connections: list[object] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        behind, onward = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, onward), pump(behind, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
