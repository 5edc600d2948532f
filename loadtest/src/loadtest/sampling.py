"""Make a few calls with an ordinary gRPC client, to check or keep the replies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from loadtest.clients import LoadError
from loadtest.workload import METHODS
from rpckit.calling.channel import connect
from rpckit.settings.client import ClientSettings


def sample(endpoint: ClientSettings, method: str, messages: Sequence[bytes]) -> list[bytes]:
    """Call a method once for each message and return the replies.

    Raises:
        LoadError: A call failed; the message has its status.
    """
    return asyncio.run(_sample(endpoint, METHODS[method], messages))


async def _sample(endpoint: ClientSettings, path: str, messages: Sequence[bytes]) -> list[bytes]:
    async with connect(endpoint) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.grpc.unary_unary(f"/{path}")
        try:
            return [await call(each, timeout=endpoint.timeout_s) for each in messages]
        except grpc.aio.AioRpcError as error:
            raise LoadError(
                f"{path} at {endpoint.target}: {error.code().name}: {error.details()}"
            ) from error
