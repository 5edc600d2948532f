"""Bearer tokens: who may call what, and that they stay secret."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from tests.fixtures.certificates import replace
from tests.fixtures.replica import IDEMPOTENT, SERVICE, Replica

from marquee.search.v1 import index_pb2, index_pb2_grpc
from rpckit.calling.channel import connect
from rpckit.errors import NotReadyError, StartupError, UpstreamError
from rpckit.observing.tracing.context import TraceContext
from rpckit.security import watched_files
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings

Serve = Callable[..., Awaitable[Server]]

READER = "reader-token-0123456789abcdef"
OPERATOR = "operator-token-0123456789abcdef"
STRANGER = "stranger-token-0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"reader read {READER}\noperator read,index {OPERATOR}\n")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def stub_of(
    server: Server, token: str | None, folder: Path
) -> AsyncIterator[index_pb2_grpc.IndexServiceAsyncStub]:
    own = None
    if token is not None:
        own = folder / "own-token"
        own.write_text(token + "\n")
    settings = ClientSettings(target=f"127.0.0.1:{server.port}", token_file=own)
    async with connect(settings, SERVICE) as channel:
        yield index_pb2_grpc.IndexServiceStub(channel.grpc)


async def refusal(
    server: Server, token: str | None, folder: Path
) -> tuple[grpc.StatusCode, str, str]:
    """Return the status, the reason and the message that a call with a token is refused with."""
    async with stub_of(server, token, folder) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListIndexes(index_pb2.ListIndexesRequest(), timeout=3)
    status = rpc_status.from_call(error.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return error.value.code(), info.reason, status.message


@pytest.mark.parametrize("token", [None, STRANGER, READER[:-1], READER + "0"])
async def test_a_call_without_a_known_token_is_unauthenticated(
    serve: Serve, token_file: Path, tmp_path: Path, token: str | None
) -> None:
    replica = Replica()
    server = await serve(replica.mount(), token_file=token_file)
    code, reason, message = await refusal(server, token, tmp_path)
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert token is None or token not in message
    assert not replica.calls


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {READER}", READER])
async def test_a_header_that_is_no_bearer_token_is_unauthenticated(
    serve: Serve, token_file: Path, header: str
) -> None:
    server = await serve(Replica().mount(), token_file=token_file)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = index_pb2_grpc.IndexServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListIndexes(
                index_pb2.ListIndexesRequest(), metadata=(("authorization", header),), timeout=3
            )
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_without_the_permission_is_denied(
    serve: Serve, token_file: Path, tmp_path: Path
) -> None:
    replica = Replica()
    server = await serve(replica.mount(permission="index"), token_file=token_file)
    code, reason, message = await refusal(server, READER, tmp_path)
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert message == "reader lacks the permission `index`"
    assert not replica.calls


async def test_a_token_with_the_permission_is_answered_and_the_caller_is_known_by_name(
    serve: Serve, token_file: Path, tmp_path: Path
) -> None:
    replica = Replica()
    server = await serve(replica.mount(permission="index"), token_file=token_file)
    async with stub_of(server, OPERATOR, tmp_path) as stub:
        await stub.ListIndexes(index_pb2.ListIndexesRequest(), timeout=3)
    assert [call.caller for call in replica.calls] == ["operator"]


async def test_a_service_refused_for_its_own_token_does_not_blame_its_caller(
    serve: Serve, token_file: Path, tmp_path: Path
) -> None:
    server = await serve(Replica().mount(), token_file=token_file)
    async with connect(ClientSettings(target=f"127.0.0.1:{server.port}"), SERVICE) as channel:
        call = channel.unary(IDEMPOTENT)
        with pytest.raises(UpstreamError, match="answered UNAUTHENTICATED"):
            await call(index_pb2.ListIndexesRequest(), timeout=3, trace=TraceContext())


async def test_health_needs_no_token_and_reflection_does(
    serve: Serve, token_file: Path, tmp_path: Path
) -> None:
    server = await serve(Replica().mount(), token_file=token_file)

    async def first_reflection_answer(metadata: tuple[tuple[str, str], ...]) -> object:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = stub.ServerReflectionInfo(iter([question]), metadata=metadata, timeout=3)
        return await anext(aiter(answers))

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=3)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await first_reflection_answer(())
        assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        known = await first_reflection_answer((("authorization", f"Bearer {READER}"),))
        assert "marquee.search.v1.IndexService" in str(known)


async def test_tokens_are_replaced_on_both_sides_without_restart(
    serve: Serve, token_file: Path, tmp_path: Path
) -> None:
    replica = Replica()
    server = await serve(replica.mount(), token_file=token_file)
    async with stub_of(server, READER, tmp_path) as stub:
        await stub.ListIndexes(index_pb2.ListIndexesRequest(), timeout=3)
        replace(token_file, f"renamed read {STRANGER}\n".encode())
        replace(tmp_path / "own-token", STRANGER.encode())
        async with asyncio.timeout(5):
            while replica.calls[-1].caller != "renamed":
                await asyncio.sleep(0.05)
                with contextlib.suppress(grpc.aio.AioRpcError):  # the sides look one by one
                    await stub.ListIndexes(index_pb2.ListIndexesRequest(), timeout=3)
    assert {call.caller for call in replica.calls} == {"reader", "renamed"}


async def test_tokens_never_reach_the_log(
    serve: Serve, token_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = await serve(Replica().mount(), token_file=token_file, access_log="all")
    for token in (READER, STRANGER):
        async with stub_of(server, token, tmp_path) as stub:
            await asyncio.gather(
                stub.ListIndexes(index_pb2.ListIndexesRequest(), timeout=3), return_exceptions=True
            )
    replace(token_file, f"broken nonsense {OPERATOR}\n".encode())
    await asyncio.sleep(1.1)
    await refusal(server, STRANGER, tmp_path)
    assert "changed but not reloaded" in caplog.text
    for record in caplog.records:
        for token in (READER, OPERATOR, STRANGER):
            assert token not in str(vars(record))


async def test_a_client_whose_token_file_stays_away_is_not_ready(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_files, "RELOAD_GRACE_SECONDS", 0)
    server = await serve(Replica().mount())
    path = tmp_path / "own-token"
    path.write_text(READER)
    settings = ClientSettings(target=f"127.0.0.1:{server.port}", token_file=path)

    async def until(reason: str | None) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    channel.check_ready()
                    seen = None
                except NotReadyError as error:
                    seen = str(error)
                if seen == reason or (reason and seen and reason in seen):
                    return
                await asyncio.sleep(0.05)

    async with connect(settings, SERVICE) as channel:
        await until(None)
        path.unlink()
        await until("cannot read the token in")
        path.write_text(READER)
        await until(None)


@pytest.mark.parametrize("content", ["", "two tokens", "tökén"])
async def test_a_client_with_a_file_that_holds_no_token_does_not_start(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "own-token"
    path.write_text(content)
    with pytest.raises(StartupError, match="does not hold one token and nothing else"):
        async with connect(ClientSettings(target="127.0.0.1:1", token_file=path)):
            pass
