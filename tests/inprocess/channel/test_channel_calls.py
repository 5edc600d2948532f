"""Retries, errors, deadlines and cancellation of a channel's calls, against real servers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.rpc import error_details_pb2
from tests.fixtures.replica import IDEMPOTENT, NOT_IDEMPOTENT, SERVICE, Replica
from tests.inprocess.channel.clients import channel_to, connected, eventually, list_indexes

from marquee.search.v1 import index_pb2
from rpckit.calling import service_config
from rpckit.calling.channel import Channel, connect
from rpckit.calling.upstream_errors import RemoteError
from rpckit.errors import (
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    OverloadedError,
    UpstreamError,
)
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings
from rpckit.settings.server import ServerSettings

Serve = Callable[..., Awaitable[Server]]


UNAVAILABLE = UpstreamError("the store is away")


async def create_index(channel: Channel) -> None:
    call = channel.unary(NOT_IDEMPOTENT)
    await call(index_pb2.CreateIndexRequest(), timeout=5.0, trace=TraceContext())


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


async def test_field_violations_arrive_as_an_invalid_request_error(serve: Serve) -> None:
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


async def test_a_call_of_a_service_that_does_not_run_fails_at_once() -> None:
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        settings = ClientSettings(target=f"127.0.0.1:{taken.getsockname()[1]}")
        async with connect(settings, SERVICE) as channel:
            started = time.monotonic()
            with pytest.raises(UpstreamError):
                await list_indexes(channel.unary(IDEMPOTENT), timeout=30.0)
            assert time.monotonic() - started < 5


async def test_a_call_that_takes_too_long_is_a_deadline_error(serve: Serve) -> None:
    replica = Replica()
    replica.gate.clear()
    async with channel_to(await serve(replica.mount())) as channel:
        with pytest.raises(DeadlineError, match="ListIndexes did not answer in time"):
            await list_indexes(channel.unary(IDEMPOTENT), timeout=0.2)
    assert len(replica.calls) <= 1


async def test_a_call_that_one_replica_leaves_unanswered_goes_to_another(serve: Serve) -> None:
    stuck, well = Replica(), Replica()
    servers = [await serve(stuck.mount()), await serve(well.mount())]
    async with channel_to(*servers, timeout_s=0.5) as channel:
        call = await connected(channel, stuck, well)
        stuck.gate.clear()
        for _ in range(2):  # one of them at least goes to the stuck replica first
            await list_indexes(call, timeout=60.0)
    assert stuck.calls
    assert len(well.calls) == 2


async def test_a_call_waits_no_longer_than_its_attempts_may_take(serve: Serve) -> None:
    replica = Replica()
    async with channel_to(await serve(replica.mount()), timeout_s=0.5) as channel:
        call = await connected(channel, replica)
        replica.gate.clear()
        with pytest.raises(UpstreamError, match=r"ListIndexes did not answer within 0\.5 s"):
            await list_indexes(call, timeout=60.0)
        assert len(replica.calls) == 2
        with pytest.raises(UpstreamError, match="CreateIndex did not answer"):
            await create_index(channel)
        assert len(replica.calls) == 3, "it is not idempotent"


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


async def test_closing_the_channel_during_a_call_does_not_cancel_the_caller(
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


def test_clients_ping_no_more_often_than_servers_allow() -> None:
    client, server = ClientSettings(target="localhost:1"), ServerSettings()
    assert client.keepalive_time_s >= server.keepalive_min_interval_s


def test_every_read_of_the_contract_is_retried_and_only_idempotent_writes_are() -> None:
    retried = {m.name for m in SERVICE.methods if service_config.is_idempotent(m)}
    assert retried == {"UpsertMovies", "DeleteMovies", "ActivateIndex", "ListIndexes"}


async def test_a_proxy_in_the_environment_is_not_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing listens
    replica = Replica()
    async with channel_to(await serve(replica.mount())) as channel:
        await list_indexes(await connected(channel, replica))
    assert replica.calls
