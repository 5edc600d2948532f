"""What a server refuses, the same on either host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.puppet import SERVICE
from tests.inprocess.hosts.processes import PuppetProcess, command, connected

from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from rpckit.calling.channel import connect
from rpckit.calling.channel_options import channel_options
from rpckit.calling.service_config import service_config
from rpckit.errors import MessageTooLargeError
from rpckit.observing.tracing.context import TraceContext
from rpckit.settings.client import ClientSettings

MIB = 1 << 20


async def test_messages_of_8_mib_pass_both_ways(stub: EmbedderServiceStub) -> None:
    text = "x" * (8 * MIB - 100)
    response = await stub.EmbedMovies(command(f"echo {text}"))
    assert response.vectors.data == text.encode()


async def test_large_messages_pass_side_by_side(stub: EmbedderServiceStub) -> None:
    texts = [letter * (4 * MIB) for letter in "abcdefgh"]
    responses = await asyncio.gather(*(stub.EmbedMovies(command(f"echo {t}")) for t in texts))
    assert [response.vectors.data[:1].decode() for response in responses] == list("abcdefgh")


async def test_a_request_over_the_limit_is_refused_without_being_read(
    stub: EmbedderServiceStub,
) -> None:
    request = command("echo " + "x" * (64 * MIB))
    started = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EmbedMovies(request)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert time.monotonic() - started < 5
    assert (await stub.EmbedMovies(command("echo still there"))).vectors.data


async def test_a_small_request_that_decompresses_to_one_over_the_limit_is_refused(
    stub: EmbedderServiceStub,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EmbedMovies(
            command("echo " + "x" * (64 * MIB)), compression=grpc.Compression.Gzip
        )
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_response_over_the_limit_is_refused_and_logged_as_what_the_caller_saw(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(max_send_message_bytes=MIB)
    async with connected(puppet.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EmbedderServiceStub(channel).EmbedMovies(command(f"bytes {2 * MIB}"))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason == "MESSAGE_TOO_LARGE"
    assert '"RESOURCE_EXHAUSTED"' in puppet.log


@pytest.mark.parametrize("text", ["echo " + "x" * 5000, "bytes 5000"], ids=["request", "response"])
@pytest.mark.parametrize("limited", ["server", "client"])
async def test_a_message_that_either_side_finds_too_large_is_that_error_to_this_projects_clients(
    start: Callable[..., PuppetProcess], limited: str, text: str
) -> None:
    limits = {"max_receive_message_bytes": 4096, "max_send_message_bytes": 4096}
    puppet = start(**limits if limited == "server" else {})
    limits = {"max_message_bytes": 4096} if limited == "client" else {}
    async with connect(ClientSettings(target=puppet.target, **limits), SERVICE) as channel:
        call = channel.unary(SERVICE.methods_by_name["EmbedMovies"])
        with pytest.raises(MessageTooLargeError):
            await call(command(text), timeout=10, trace=TraceContext())


async def test_calls_over_the_limit_are_refused_at_once_with_retry_info(
    start: Callable[..., PuppetProcess],
) -> None:
    async with connected(start(max_concurrent_rpcs=3).target) as channel:
        stub = EmbedderServiceStub(channel)
        admitted = [stub.EmbedMovies(command("sleep 0.5")) for _ in range(3)]
        await asyncio.sleep(0.2)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EmbedMovies(command("echo too many"))
        assert time.monotonic() - started < 0.2
        await asyncio.gather(*admitted)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def test_a_call_without_a_deadline_gets_the_default_deadline(
    start: Callable[..., PuppetProcess],
) -> None:
    async with connected(start(default_deadline_s=0.3).target) as channel:
        stub = EmbedderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EmbedMovies(command("sleep 60"))
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert rpc_status.from_call(caught.value) is not None, "the server's answer has details"
        evaluation = (await stub.GetModel(pb.GetModelRequest())).evaluation
        assert evaluation["cancelled"] == 1


async def test_a_client_of_the_default_settings_pings_no_more_than_a_server_allows(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(default_deadline_s=10)
    settings = ClientSettings(target=puppet.target)
    pinging = channel_options(settings, service_config([]))
    async with grpc.aio.insecure_channel(puppet.target, options=pinging) as channel:
        # gRPC's own limit would end the connection at the fourth ping, after as many seconds.
        await EmbedderServiceStub(channel).EmbedMovies(command("sleep 5.5"), timeout=10)
