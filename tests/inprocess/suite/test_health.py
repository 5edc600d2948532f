"""Readiness of real servers, in the clear and over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from tests.fixtures.certificates import issue, write_ca, write_pair
from tests.fixtures.replica import SERVICE, Replica

from rpckit.serving.server import Server
from rpckit.settings.client import ClientSettings
from suite.health import is_serving, wait_until_serving
from suite.services import LIVENESS

Serve = Callable[..., Awaitable[Server]]


async def asked(server: Server, service: str = SERVICE.full_name, **settings: Any) -> bool:
    endpoint = ClientSettings(target=f"127.0.0.1:{server.port}", **settings)
    return await asyncio.to_thread(is_serving, endpoint, service)


async def test_a_server_may_be_alive_and_not_ready(serve: Serve) -> None:
    replica = Replica()
    replica.not_ready = "no index is active"
    server = await serve(replica.mount())
    assert await asked(server, LIVENESS)
    assert not await asked(server)
    assert not await asked(server, "no.such.Service")


async def test_where_nothing_listens_nothing_serves(serve: Serve) -> None:
    server = await serve(Replica().mount())
    assert await asked(server)
    await server.stop()
    assert not await asked(server, LIVENESS)


async def test_a_server_with_tls_is_asked_as_it_is_called(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = write_ca(authority, tmp_path)
    cert, key = write_pair(issue(authority, "server"), tmp_path, "server")
    server = await serve(Replica().mount(), tls_cert=cert, tls_key=key, tls_client_ca=ca)
    client_cert, client_key = write_pair(issue(authority, "client"), tmp_path, "client")
    client = {"tls_ca": ca, "tls_cert": client_cert, "tls_key": client_key}
    assert await asked(server, **client)
    assert await asked(server, **client, tls_server_name="server")
    assert not await asked(server, **client, tls_server_name="another.test")
    assert not await asked(server, tls_ca=ca)
    assert not await asked(server)


async def test_waiting_ends_when_the_service_is_ready_or_the_time_is_over(serve: Serve) -> None:
    replica = Replica()
    replica.not_ready = "no index is active"
    server = await serve(replica.mount())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await wait_until_serving(channel, SERVICE.full_name, 0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        waiting = asyncio.create_task(wait_until_serving(channel, SERVICE.full_name, 10))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        replica.not_ready = None
        await waiting
