"""The gateway over a real embedder and a real search service, all in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.suite import Suite, running

from fusion.bundle import Bundle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Suite]:
    async with running(tiny_bundle, tmp_path_factory.mktemp("search")) as suite:
        yield suite


async def refused_fields(call: Awaitable[object]) -> list[str]:
    """Return the fields that a call is refused for."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(refusal.value).details)
    return [violation.field for violation in bad.field_violations]
