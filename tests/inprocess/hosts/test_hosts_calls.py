"""What a caller sees of one call, the same on either host."""

from __future__ import annotations

import asyncio
import time
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.inprocess.hosts.processes import command, connected

from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub


async def test_a_call_is_answered(stub: EmbedderServiceStub) -> None:
    response = await stub.EmbedMovies(command("echo Amélie (2001)"))
    assert response.vectors.data.decode() == "Amélie (2001)"


async def test_an_empty_request_gets_an_answer(stub: EmbedderServiceStub) -> None:
    response = await stub.GetModel(pb.GetModelRequest())
    assert response.name == "anonymous"


async def test_an_error_arrives_with_its_details(stub: EmbedderServiceStub) -> None:
    message = 'not "100 %" right: naïve, 映画\nsecond line'
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EmbedMovies(command(f"refuse {message}"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == f"movies[0].title: {message}"
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad_request)
    assert info.reason == "INVALID_REQUEST"
    assert bad_request.field_violations[0].field == "movies[0].title"
    assert bad_request.field_violations[0].description == message


async def test_a_defect_is_an_internal_error_without_details(stub: EmbedderServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EmbedMovies(command("raise something secret"))
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "internal error" in caught.value.details()
    assert "secret" not in caught.value.details()


@pytest.mark.parametrize(
    "path",
    [
        "/marquee.embedder.v1.EmbedderService/Forget",
        "/marquee.Nothing/EmbedUsers",
        "/nothing",
        # Other spellings of a method, which a rule of a proxy for its path would let pass.
        "/marquee.embedder.v1.EmbedderService/%45mbedUsers",
        "/marquee.embedder.v1.EmbedderService/EmbedUsers?a=b",
        "/marquee.embedder.v1.EmbedderService//EmbedUsers",
        "/marquee.embedder.v1.EmbedderService/Forget/../EmbedUsers",
        "/grpc.health.v1.Health/%43heck",
    ],
)
async def test_an_unknown_method_is_unimplemented(target: str, path: str) -> None:
    async with connected(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_malformed_message_is_an_invalid_request(target: str) -> None:
    async with connected(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/marquee.embedder.v1.EmbedderService/EmbedUsers")(b"\xff")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_deadline_reaches_the_handler(stub: EmbedderServiceStub) -> None:
    response = await stub.GetModel(pb.GetModelRequest(), timeout=2.0)
    assert 1.0 < response.evaluation["time_remaining"] < 2.1


async def test_a_deadline_ends_the_handlers_work(stub: EmbedderServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EmbedMovies(command("sleep 60"), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await all_sleepers_woke(stub)


async def test_cancellation_reaches_the_handler(stub: EmbedderServiceStub) -> None:
    before = (await stub.GetModel(pb.GetModelRequest())).evaluation["cancelled"]
    call = stub.EmbedMovies(command("sleep 4"))
    await asyncio.sleep(0.1)
    call.cancel()
    evaluation = await all_sleepers_woke(stub)
    assert evaluation["cancelled"] == before + 1


async def test_a_closed_connection_cancels_its_calls(
    target: str, stub: EmbedderServiceStub
) -> None:
    async with connected(target) as channel:
        call = EmbedderServiceStub(channel).EmbedMovies(command("sleep 4"))
        await asyncio.sleep(0.2)
        assert not call.done()
    await all_sleepers_woke(stub)


async def test_a_trace_reaches_the_handler(stub: EmbedderServiceStub) -> None:
    trace_id = uuid.uuid4().hex
    response = await stub.GetModel(
        pb.GetModelRequest(), metadata=[("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")]
    )
    assert response.version == trace_id


async def test_binary_metadata_is_accepted(stub: EmbedderServiceStub) -> None:
    response = await stub.GetModel(pb.GetModelRequest(), metadata=[("x-noise-bin", b"\0\xff\1")])
    assert response.name == "anonymous"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_request_is_understood(
    stub: EmbedderServiceStub, compression: grpc.Compression
) -> None:
    text = "again and again " * 1000
    response = await stub.EmbedMovies(command(f"echo {text}"), compression=compression)
    assert response.vectors.data.decode() == text


async def test_each_of_many_calls_at_once_gets_its_own_answer(target: str) -> None:
    async def ask(stub: EmbedderServiceStub, caller: int) -> None:
        for size in range(1, 26):
            ids = [caller * 1000 + n for n in range(size)]
            request = pb.EmbedUsersRequest(users=[{"user_id": i} for i in ids])
            assert list((await stub.EmbedUsers(request)).unknown_user_rows) == ids

    async with connected(target) as one, connected(target) as other:
        stubs = EmbedderServiceStub(one), EmbedderServiceStub(other)
        await asyncio.gather(*(ask(stubs[caller % 2], caller) for caller in range(64)))


async def all_sleepers_woke(stub: EmbedderServiceStub) -> dict[str, float]:
    """Wait until no handler sleeps any more; they are found to be gone within 1 s."""
    give_up = time.monotonic() + 1.0
    while True:
        evaluation = dict((await stub.GetModel(pb.GetModelRequest())).evaluation)
        if evaluation["started"] == evaluation["cancelled"]:
            return evaluation
        assert time.monotonic() < give_up, "a handler works for nobody"
        await asyncio.sleep(0.02)
