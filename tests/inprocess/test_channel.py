"""What a channel does by itself, against real servers."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from tests.fixtures.replica import IDEMPOTENT, NOT_IDEMPOTENT, SERVICE, Replica

from marquee.search.v1 import index_pb2
from rpckit.calling import service_config
from rpckit.calling.channel import Channel, UnaryCall, connect
from rpckit.calling.upstream_errors import RemoteError
from rpckit.errors import (
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    UpstreamError,
)
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings
from rpckit.settings.server import ServerSettings

Serve = Callable[..., Awaitable[Server]]
Call = UnaryCall[Any, Any]

UNAVAILABLE = UpstreamError("the store is away")


@asynccontextmanager
async def channel_to(*servers: Server, **settings: Any) -> AsyncIterator[Channel]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    async with connect(ClientSettings(target=target, **settings), SERVICE) as channel:
        yield channel


async def list_indexes(call: Call, timeout: float = 5.0) -> index_pb2.ListIndexesResponse:
    answer = await call(index_pb2.ListIndexesRequest(), timeout=timeout, trace=TraceContext())
    assert isinstance(answer, index_pb2.ListIndexesResponse)
    return answer


async def create_index(channel: Channel) -> None:
    call = channel.unary(NOT_IDEMPOTENT)
    await call(index_pb2.CreateIndexRequest(), timeout=5.0, trace=TraceContext())


async def eventually(condition: Callable[[], bool], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other processes' hands
            await asyncio.sleep(0.02)


async def connected(channel: Channel, *replicas: Replica) -> Call:
    """Call until every replica has answered, so that all connections are there."""
    call = channel.unary(IDEMPOTENT)
    async with asyncio.timeout(5):
        while not all(replica.calls for replica in replicas):
            await list_indexes(call)
    for replica in replicas:
        replica.calls.clear()
    return call


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


async def test_a_replica_that_joins_gets_its_share_when_connections_age(serve: Serve) -> None:
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


async def test_an_idempotent_method_is_retried_when_unavailable(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        replica.failures = [UNAVAILABLE, UNAVAILABLE]
        await list_indexes(channel.unary(IDEMPOTENT))
    assert len(replica.calls) == 3


async def test_retries_end_after_three_attempts(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        replica.fails = UNAVAILABLE
        with pytest.raises(UpstreamError, match="the store is away") as failure:
            await list_indexes(channel.unary(IDEMPOTENT))
    assert len(replica.calls) == 3
    assert failure.value.metadata["method"] == "marquee.search.v1.IndexService/ListIndexes"


async def test_a_method_that_is_not_idempotent_is_never_retried(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        replica.fails = UNAVAILABLE
        with pytest.raises(UpstreamError):
            await create_index(channel)
    assert len(replica.calls) == 1


async def test_other_failures_are_not_retried_and_keep_their_details(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        replica.fails = OverloadedError("the queue is full", retry_after=0.25)
        with pytest.raises(RemoteError, match="the queue is full") as failure:
            await list_indexes(channel.unary(IDEMPOTENT))
    assert len(replica.calls) == 1
    assert failure.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.value.reason == "OVERLOADED"
    assert failure.value.status() == replica.fails.status()
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in failure.value.details())
    assert retry.retry_delay.ToMilliseconds() == 250


async def test_field_violations_arrive_as_what_they_are(serve: Serve) -> None:
    replica = Replica()
    violations = [FieldViolation("users[2].age", "is negative"), FieldViolation("users", "x")]
    async with channel_to(await serve(replica.mount())) as channel:
        replica.fails = InvalidRequestError(violations)
        with pytest.raises(InvalidRequestError) as failure:
            await list_indexes(channel.unary(IDEMPOTENT))
    assert list(failure.value.violations) == violations


async def test_retries_are_throttled_when_a_service_is_down(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        replica.fails = UNAVAILABLE
        call = channel.unary(IDEMPOTENT)
        await asyncio.gather(*(list_indexes(call) for _ in range(300)), return_exceptions=True)
    assert len(replica.calls) < 450, "300 calls and what the bucket's tokens allow"


async def test_a_replica_that_fails_nearly_every_call_is_taken_out(
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


async def test_replicas_that_fail_for_the_callers_sake_stay_in(
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


async def test_a_service_that_nobody_runs_fails_at_once() -> None:
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        settings = ClientSettings(target=f"127.0.0.1:{taken.getsockname()[1]}")
        async with connect(settings, SERVICE) as channel:
            started = time.monotonic()
            with pytest.raises(UpstreamError):
                await list_indexes(channel.unary(IDEMPOTENT), timeout=30.0)
            assert time.monotonic() - started < 5


async def test_a_call_that_takes_too_long_is_given_up(serve: Serve) -> None:
    replica = Replica()
    replica.gate.clear()
    async with channel_to(await serve(replica.mount())) as channel:
        with pytest.raises(DeadlineError, match="ListIndexes did not answer in time"):
            await list_indexes(channel.unary(IDEMPOTENT), timeout=0.2)


async def test_cancelling_the_caller_cancels_the_call_at_the_other_side(serve: Serve) -> None:
    replica = Replica()
    replica.gate.clear()
    async with channel_to(await serve(replica.mount())) as channel:
        task = asyncio.create_task(list_indexes(channel.unary(IDEMPOTENT)))
        await eventually(lambda: bool(replica.calls))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await replica.cancelled.wait()


async def test_closing_the_channel_under_a_call_is_no_cancellation_of_the_caller(
    serve: Serve,
) -> None:
    replica = Replica()
    replica.gate.clear()
    async with channel_to(await serve(replica.mount())) as channel:
        task = asyncio.create_task(list_indexes(channel.unary(IDEMPOTENT)))
        await eventually(lambda: bool(replica.calls))
    with pytest.raises(UpstreamError, match="was closed"):
        await task


async def test_a_call_carries_its_trace_and_its_budget(serve: Serve) -> None:
    replica = Replica()
    trace = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with channel_to(await serve(replica.mount())) as channel:
        call = channel.unary(IDEMPOTENT)
        await call(index_pb2.ListIndexesRequest(), timeout=2.0, trace=trace)
        (seen,) = replica.calls
        assert seen.trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert 1.0 < seen.time_remaining() <= 2.0


def test_clients_probe_no_more_often_than_servers_bear() -> None:
    client, server = ClientSettings(target="localhost:1"), ServerSettings()
    assert client.keepalive_time_s >= server.keepalive_min_interval_s


def test_every_read_of_the_contract_is_retried_and_only_idempotent_writes_are() -> None:
    retried = {m.name for m in SERVICE.methods if service_config.is_idempotent(m)}
    assert retried == {"UpsertMovies", "DeleteMovies", "ActivateIndex", "ListIndexes"}


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
