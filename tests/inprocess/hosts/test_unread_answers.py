"""Clients that call and never read the answers: they cost other callers nothing, on either host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.fixtures.puppet import SERVICE
from tests.fixtures.raw_http2 import RawConnection, message
from tests.inprocess.hosts.processes import PuppetProcess, command, connected, memory_mib

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub

METHOD = f"/{SERVICE.full_name}/EmbedMovies"
MIB = 1 << 20


@contextmanager
def unread_calls(target: str, text: str, calls: int, connections: int) -> Iterator[None]:
    """Send complete calls over connections with a window of 0."""
    body = message(command(text).SerializeToString())
    with ExitStack() as stack:
        clients = [stack.enter_context(RawConnection(target, window=0)) for _ in range(connections)]
        for client in clients:
            for _ in range(calls // connections):
                client.open(METHOD, body)
        for _ in range(5):
            for client in clients:
                client.run(0.05)
        yield


@pytest.mark.parametrize(("calls", "connections"), [(90, 1), (300, 3)])
async def test_no_honest_call_is_refused_beside_calls_that_are_not_read(
    start: Callable[..., PuppetProcess], calls: int, connections: int
) -> None:
    target = start().target
    async with connected(target) as channel:
        stub = EmbedderServiceStub(channel)
        with unread_calls(target, "bytes 50000", calls, connections):
            async with asyncio.timeout(10):
                for _ in range(100):
                    await stub.EmbedMovies(command("echo x"))


async def test_what_waits_to_be_read_is_bounded_by_connection_or_time(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start()
    async with connected(puppet.target) as channel:
        stub = EmbedderServiceStub(channel)
        before = memory_mib(puppet)
        with unread_calls(puppet.target, f"bytes {3 * MIB}", 100, 1):
            await asyncio.sleep(6.5)  # Envoy drops what nobody has begun to read in 5 s
            assert memory_mib(puppet) - before < 220  # they would hold 300, or twice that
            assert (await stub.EmbedMovies(command(f"bytes {3 * MIB}"))).vectors.data


async def test_who_reads_his_answers_gets_as_many_as_he_asks_for(
    start: Callable[..., PuppetProcess],
) -> None:
    async with connected(start().target) as channel:
        stub = EmbedderServiceStub(channel)
        for _ in range(12):  # 8 may wait
            await stub.EmbedMovies(command(f"bytes {8 * MIB - 100}"))


async def test_the_bound_is_that_of_one_connection(
    start: Callable[..., PuppetProcess], host: str
) -> None:
    if host == "envoy":
        pytest.skip("Envoy bounds the time")
    target = start().target
    body = message(command(f"bytes {7 * MIB}").SerializeToString())
    with RawConnection(target, window=0) as client:
        for _ in range(10):
            client.open(METHOD, body)
        await asyncio.to_thread(client.run, 2, lambda: len(client.statuses) == 1)
        assert list(client.statuses.values()) == ["8"], "9 fit into 64 MiB"
        async with connected(target) as channel:
            await EmbedderServiceStub(channel).EmbedMovies(command(f"bytes {7 * MIB}"))
