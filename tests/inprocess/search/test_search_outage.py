"""A Milvus server that comes, goes and comes back while the service runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.fixtures.forwarder import Forwarder
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request, settings

from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2 import MovieQuery
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service.__main__ import wire

Becomes = Callable[[bool], Awaitable[float]]


@pytest.fixture
async def forwarder(milvus_uri: str) -> AsyncIterator[Forwarder]:
    await wipe(milvus_uri)
    async with Forwarder(milvus_uri.removeprefix("http://")) as forwarder:
        yield forwarder


@pytest.fixture(params=["milvus", "resident"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def service(forwarder: Forwarder, engine: str) -> AsyncIterator[Service]:
    """A service that was started while its Milvus could not be reached."""
    uri = f"http://127.0.0.1:{forwarder.port}"
    async with (
        serving(settings(uri, engine=engine), wire, Telemetry("search_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Service(SearchServiceStub(channel), IndexServiceStub(channel), channel)


async def seconds_until(service: Service, name: str, ready: bool) -> float:
    """Return how long a service's health takes to become so."""
    health = health_pb2_grpc.HealthStub(service.channel)
    started = time.monotonic()
    async for answer in health.Watch(
        health_pb2.HealthCheckRequest(service=f"marquee.search.v1.{name}"), timeout=20
    ):
        if (answer.status == health_pb2.HealthCheckResponse.SERVING) == ready:
            break
    return time.monotonic() - started


async def search(service: Service) -> grpc.StatusCode:
    """Search once; return the status."""
    request = search_request(unit_vectors(1, 1), MovieQuery(top_k=3))
    return await service.search.SearchMovies(request, timeout=5).code()


async def test_the_service_starts_without_milvus_and_recovers_by_itself(
    service: Service, forwarder: Forwarder
) -> None:
    assert await seconds_until(service, "IndexService", ready=False) < 2
    assert await search(service) == grpc.StatusCode.UNAVAILABLE
    await forwarder.connect()
    assert await seconds_until(service, "IndexService", ready=True) < 2
    await build(service, 20)
    assert await seconds_until(service, "SearchService", ready=True) < 2

    await forwarder.cut()
    assert await seconds_until(service, "SearchService", ready=False) < 2
    started = time.monotonic()
    assert await search(service) == grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started < 0.5, "a store that is gone is refused at once"

    await forwarder.connect()
    assert await seconds_until(service, "SearchService", ready=True) < 2
    assert await search(service) == grpc.StatusCode.OK


async def test_a_milvus_that_falls_silent_makes_the_service_not_ready(
    service: Service, forwarder: Forwarder
) -> None:
    await forwarder.connect()
    await seconds_until(service, "IndexService", ready=True)
    await build(service, 20)
    await seconds_until(service, "SearchService", ready=True)
    forwarder.freeze()
    assert await seconds_until(service, "SearchService", ready=False) < 2.5
    forwarder.thaw()
    assert await seconds_until(service, "SearchService", ready=True) < 2
    assert await search(service) == grpc.StatusCode.OK


@pytest.mark.parametrize("engine", ["milvus"])
async def test_searches_under_way_when_milvus_goes_fail_as_unavailable(
    service: Service, forwarder: Forwarder
) -> None:
    await forwarder.connect()
    await seconds_until(service, "IndexService", ready=True)
    await build(service, 20)
    forwarder.freeze()
    searches = [asyncio.create_task(search(service)) for _ in range(8)]
    await asyncio.sleep(0.2)
    await forwarder.cut()
    assert set(await asyncio.gather(*searches)) == {grpc.StatusCode.UNAVAILABLE}
    forwarder.thaw()
