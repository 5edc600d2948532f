"""What a real server logs about its calls, and what it must not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from marquee.recommender.v1 import recommender_pb2, recommender_pb2_grpc
from marquee.type.v1 import types_pb2
from rpckit.errors import InvalidRequestError
from rpckit.observing.logs import JsonFormatter
from rpckit.serving.call import Call
from rpckit.serving.dispatch import Mount
from rpckit.serving.server import Server

Serve = Callable[..., Awaitable[Server]]

RECOMMEND = "marquee.recommender.v1.RecommenderService/Recommend"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN = "open-sesame-open-sesame"
STRANGE_TOKEN = "let-me-in-let-me-in-let-me-in"
USER = types_pb2.User(user_id=987654, occupation=13)


class Grumpy:
    """Answers user 1, refuses everybody else, and has a defect for nobody."""

    async def Recommend(
        self, request: recommender_pb2.RecommendRequest, call: Call
    ) -> recommender_pb2.RecommendResponse:
        if request.user.user_id == 1:
            return recommender_pb2.RecommendResponse()
        if request.user.user_id:
            raise InvalidRequestError.of("user.user_id", "is not 1")
        raise ZeroDivisionError


async def always_ready() -> None:
    """Say that everything is there."""


@pytest.fixture
async def target(serve: Serve, tmp_path: Path) -> str:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"shop read {TOKEN}\n")
    tokens.chmod(0o600)
    service = recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"]
    server = await serve(Mount(service, Grumpy(), always_ready), token_file=tokens)
    return f"127.0.0.1:{server.port}"


async def recommend(target: str, user: types_pb2.User, token: str) -> None:
    metadata = (
        ("authorization", f"Bearer {token}"),
        ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),
    )
    async with grpc.aio.insecure_channel(target) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)
        request = recommender_pb2.RecommendRequest(user=user)
        await stub.Recommend(request, metadata=metadata, timeout=10)


def calls(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "rpckit.access"]


async def test_a_refused_call_is_logged_with_method_code_caller_and_trace(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(grpc.aio.AioRpcError):
        await recommend(target, USER, TOKEN)
    (record,) = calls(caplog)
    fields = vars(record)
    assert fields["method"] == RECOMMEND
    assert fields["code"] == "INVALID_ARGUMENT"
    assert fields["caller"] == "shop"
    assert fields["trace_id"] == TRACE
    assert 0 < fields["duration_ms"] < 10_000


async def test_an_unknown_caller_is_logged_as_anonymous(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(grpc.aio.AioRpcError):
        await recommend(target, USER, STRANGE_TOKEN)
    (record,) = calls(caplog)
    assert vars(record)["code"] == "UNAUTHENTICATED"
    assert vars(record)["caller"] == "anonymous"


async def test_a_defect_is_logged_with_its_id_and_trace(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await recommend(target, types_pb2.User(), TOKEN)
    (record,) = (record for record in caplog.records if record.exc_info)
    error_id = (refused.value.details() or "").split()[-1]
    assert error_id in record.getMessage()
    assert vars(record)["trace_id"] == TRACE


async def test_a_successful_call_is_not_logged_by_default(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await recommend(target, types_pb2.User(user_id=1), TOKEN)
    assert calls(caplog) == []


async def test_neither_tokens_nor_people_are_in_the_log(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for user, token in ((USER, TOKEN), (USER, STRANGE_TOKEN), (types_pb2.User(), TOKEN)):
        with pytest.raises(grpc.aio.AioRpcError):
            await recommend(target, user, token)
    written = "\n".join(JsonFormatter("test").format(record) for record in caplog.records)
    assert "ZeroDivisionError" in written  # the defect is there in full
    for secret in (TOKEN, STRANGE_TOKEN, "987654", "occupation"):
        assert secret not in written
