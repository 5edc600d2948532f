"""Two search services on one Milvus server: what one records or deletes, the other knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.milvus import wipe
from tests.inprocess.search.conftest import Service, build, settings
from tests.inprocess.search.test_interactions import (
    ANN,
    BEN,
    YESTERDAY,
    found,
    held,
    interaction,
    record,
    users,
)

from marquee.interactions.v1 import interactions_pb2 as pb
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service.__main__ import wire
from search_service.interactions.seen_replica import MAX_STALENESS_SECONDS

Open = Callable[..., Awaitable[Service]]


@asynccontextmanager
async def running(uri: str, **others: object) -> AsyncIterator[Service]:
    async with (
        serving(settings(uri, **others), wire, Telemetry("search_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Service(SearchServiceStub(channel), IndexServiceStub(channel), channel)


@pytest.fixture
async def opened(milvus_uri: str) -> AsyncIterator[Open]:
    """Open search services on one empty Milvus server."""
    await wipe(milvus_uri)
    async with AsyncExitStack() as stack:

        async def open_one(**others: object) -> Service:
            return await stack.enter_async_context(running(milvus_uri, **others))

        yield open_one


async def ready(service: Service, movies: set[int]) -> None:
    """Wait until a service answers from the active index."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await found(service, None) == movies:
                    return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)


async def finds_in_time(service: Service, expected: set[int], user_id: int = ANN) -> None:
    """Check that what another service did is known within the bound."""
    started = time.monotonic()
    while await found(service, user_id) != expected:
        assert time.monotonic() - started < MAX_STALENESS_SECONDS
        await asyncio.sleep(0.02)


async def test_another_replica_knows_within_the_bound_what_was_recorded_and_deleted(
    opened: Open,
) -> None:
    one, other = await opened(), await opened()
    movies = {movie.movie_id for movie in await build(one)}
    await ready(other, movies)
    first, second, third, *_ = sorted(movies)
    await record(one, [interaction(first)])
    assert await found(one) == movies - {first}
    await finds_in_time(other, movies - {first})
    # Both write the same bucket at the same time, and each user's data must end equal on both.
    await asyncio.gather(
        record(one, [interaction(second), interaction(first, BEN)]),
        record(other, [interaction(third), interaction(second, BEN)]),
    )
    for service in (one, other):
        await finds_in_time(service, movies - {first, second, third})
        await finds_in_time(service, movies - {first, second}, BEN)
    await users(other).DeleteUserData(pb.DeleteUserDataRequest(user_id=ANN))
    assert await found(other) == movies
    assert await held(one) == await held(other) == []
    await finds_in_time(one, movies)
    assert await found(one, BEN) == movies - {first, second}
    late = await opened()
    await ready(late, movies)
    assert await found(late) == movies
    assert await found(late, BEN) == movies - {first, second}


async def test_what_a_bounded_history_forgets_is_found_again_on_every_replica(
    opened: Open,
) -> None:
    one, other = await opened(most_interactions_per_user=10), await opened()
    movies = {movie.movie_id for movie in await build(one)}
    await ready(other, movies)
    oldest, *newer = sorted(movies)[:12]
    await record(one, [interaction(oldest, at=YESTERDAY - 1)])
    await finds_in_time(other, movies - {oldest})
    await record(one, [interaction(movie_id) for movie_id in newer])
    kept = {each.movie_id for each in await held(other)}
    assert len(kept) == 10
    assert kept < set(newer)
    for service in (one, other):
        await finds_in_time(service, movies - kept)


async def test_a_users_whole_history_is_left_out_however_long_it_is(opened: Open) -> None:
    service = await opened(engine="milvus")
    movies = {movie.movie_id for movie in await build(service, 400)}
    history = [interaction(movie_id) for movie_id in sorted(movies)[:395]]
    others = [interaction(10**6 + number) for number in range(4605)]
    for start in range(0, 5000, 1000):
        await record(service, (history + others)[start : start + 1000])
    assert await found(service) == {*sorted(movies)[395:]}
    assert len(await held(service)) == 5000


async def test_the_interactions_of_another_suite_are_refused(opened: Open) -> None:
    ours, theirs = await opened(), await opened(suite="theirs")
    await record(ours, [interaction(1)])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await record(theirs, [interaction(2)])
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.reason == "OTHER_SUITE"
    assert [each.movie_id for each in await held(ours)] == [1]
