"""Which replica a channel calls, against real servers."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from tests.fixtures.replica import IDEMPOTENT, NOT_IDEMPOTENT, SERVICE, Replica
from tests.inprocess.channel.clients import channel_to, connected, eventually, list_indexes

from rpckit.calling import service_config
from rpckit.calling.channel import Channel, connect
from rpckit.errors import (
    InvalidRequestError,
    NotReadyError,
    UpstreamError,
)
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings

Serve = Callable[..., Awaitable[Server]]


async def test_calls_go_round_the_replicas(serve: Serve) -> None:
    one, two = Replica(), Replica()
    async with channel_to(await serve(one.mount()), await serve(two.mount())) as channel:
        call = await connected(channel, one, two)
        for _ in range(40):
            await list_indexes(call)
    assert len(one.calls) == len(two.calls) == 20


async def test_a_replica_that_is_not_ready_gets_no_calls_until_it_is(serve: Serve) -> None:
    one, two = Replica(), Replica()
    async with channel_to(await serve(one.mount()), await serve(two.mount())) as channel:
        call = await connected(channel, one, two)
        two.not_ready = "stopping"
        await asyncio.sleep(1.0)  # the server's own poll
        one.calls.clear(), two.calls.clear()
        for _ in range(20):
            await list_indexes(call)
        assert (len(one.calls), len(two.calls)) == (20, 0)
        two.not_ready = None
        await connected(channel, two)


async def test_a_channel_is_ready_while_any_replica_is(serve: Serve) -> None:
    one, two = Replica(), Replica()
    async with channel_to(await serve(one.mount()), await serve(two.mount())) as channel:
        with pytest.raises(NotReadyError):  # not connected yet
            channel.check_ready()
        await eventually(lambda: is_ready(channel))
        one.not_ready = "no index"
        await asyncio.sleep(1.0)
        assert is_ready(channel)
        two.not_ready = "no index"
        await eventually(lambda: not is_ready(channel))
        with pytest.raises(NotReadyError, match=r"no replica at ipv4:.* is ready"):
            channel.check_ready()
        one.not_ready = None
        await eventually(lambda: is_ready(channel), within=2.0)


def is_ready(channel: Channel) -> bool:
    try:
        channel.check_ready()
    except NotReadyError:
        return False
    return True


async def test_a_restarted_server_is_found_again_within_seconds(serve: Serve) -> None:
    first, second = Replica(), Replica()
    server = await serve(first.mount())
    async with channel_to(server) as channel:
        call = await connected(channel, first)
        await server.stop()
        with pytest.raises(UpstreamError):
            await list_indexes(call)
        await serve(second.mount(), port=server.port)
        await eventually(lambda: is_ready(channel), within=4.0)
        await list_indexes(call)
    assert len(second.calls) == 1


async def test_replicas_restarted_one_after_the_other_lose_no_call(serve: Serve) -> None:
    servers = [await serve(Replica().mount(), shutdown_delay_s=0.5) for _ in range(2)]
    failures: list[Exception] = []
    answered = 0
    stop = asyncio.Event()
    async with channel_to(*servers) as channel:

        async def keep_calling(method: MethodDescriptor) -> None:
            nonlocal answered
            call, request = channel.unary(method), GetMessageClass(method.input_type)()
            while not stop.is_set():
                try:
                    await call(request, timeout=5.0, trace=TraceContext())
                    answered += 1
                except UpstreamError as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as callers:
            for method in 4 * (IDEMPOTENT, NOT_IDEMPOTENT):
                callers.create_task(keep_calling(method))
            for server in servers:
                await server.stop()
                restarted = Replica()
                await serve(restarted.mount(), port=server.port, shutdown_delay_s=0.5)
                await eventually(lambda replica=restarted: len(replica.calls) > 20)
            stop.set()
    assert failures == []
    assert answered > 100


async def test_a_new_replica_gets_calls_when_connections_age(serve: Serve) -> None:
    replicas = [Replica(), Replica(), Replica()]
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    server = await serve(replicas[0].mount(), host=hosts[0], max_connection_age_s=1.0)
    port = server.port
    await serve(replicas[1].mount(), host=hosts[1], port=port, max_connection_age_s=1.0)
    async with names(hosts[:2]) as (name_server, addresses):
        target = f"dns://{name_server}/search.test:{port}"
        async with connect(ClientSettings(target=target), SERVICE) as channel:
            call = await connected(channel, *replicas[:2])
            await serve(replicas[2].mount(), host=hosts[2], port=port)
            addresses.append(hosts[2])
            joined = time.monotonic()
            async with asyncio.timeout(15):
                while len(replicas[2].calls) < 20:
                    await list_indexes(call)
                    await asyncio.sleep(0.005)
            assert time.monotonic() - joined < 10


async def test_a_replica_that_fails_nearly_every_call_is_ejected(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(service_config.OUTLIER_DETECTION, "interval", "0.5s")
    good, bad = Replica(), Replica()
    async with channel_to(await serve(good.mount()), await serve(bad.mount())) as channel:
        call = await connected(channel, good, bad)
        bad.fails = OSError("its disk is gone")  # INTERNAL, though its health says SERVING
        async with asyncio.timeout(10):
            while bad.calls or not good.calls:
                good.calls.clear(), bad.calls.clear()
                await asyncio.gather(
                    *(list_indexes(call) for _ in range(80)), return_exceptions=True
                )
                await asyncio.sleep(0.2)
        for _ in range(20):
            await list_indexes(call)
    assert not bad.calls


async def test_replicas_that_refuse_bad_requests_are_not_ejected(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(service_config.OUTLIER_DETECTION, "interval", "0.3s")
    one, two = Replica(), Replica()
    refused = InvalidRequestError.of("x", "is wrong")
    async with channel_to(await serve(one.mount()), await serve(two.mount())) as channel:
        call = await connected(channel, one, two)
        for _ in range(5):  # four calls of five are refused, on both
            for replica in (one, two):
                replica.failures = 8 * [refused, refused, refused, refused, None]
            await asyncio.gather(*(list_indexes(call) for _ in range(80)), return_exceptions=True)
            await asyncio.sleep(0.2)
        one.calls.clear(), two.calls.clear()
        for _ in range(20):
            await list_indexes(call)
    assert len(one.calls) == len(two.calls) == 10


@asynccontextmanager
async def names(addresses: Sequence[str]) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a name server that knows one set of addresses, which may be changed."""
    known = list(addresses)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _NameServer(known), local_addr=("127.0.0.1", 0)
    )
    try:
        yield "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1]), known
    finally:
        transport.close()


class _NameServer(asyncio.DatagramProtocol):
    """Answers every question for A records with the addresses, and all others with nothing."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        end = data.index(b"\0", 12) + 5  # the name, its type and class
        question = data[12:end]
        a_record = question[-4:] == b"\0\x01\0\x01"
        addresses = self._addresses if a_record else []
        header = data[:2] + struct.pack(">5H", 0x8180, 1, len(addresses), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 0, 4) + socket.inet_aton(address)
            for address in addresses
        )
        self._transport.sendto(header + question + answers, addr)
