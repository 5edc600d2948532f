"""Channels to real servers, and calls on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.fixtures.replica import IDEMPOTENT, SERVICE, Replica

from marquee.search.v1 import index_pb2
from rpckit.calling.channel import Channel, UnaryCall, connect
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings

Call = UnaryCall[Any, Any]


@asynccontextmanager
async def channel_to(*servers: Server, **settings: Any) -> AsyncIterator[Channel]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    async with connect(ClientSettings(target=target, **settings), SERVICE) as channel:
        yield channel


async def list_indexes(call: Call, timeout: float = 5.0) -> index_pb2.ListIndexesResponse:
    answer = await call(index_pb2.ListIndexesRequest(), timeout=timeout, trace=TraceContext())
    assert isinstance(answer, index_pb2.ListIndexesResponse)
    return answer


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
