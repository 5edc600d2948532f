"""The index builder over a real embedder and a real search service, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import pytest
from tests.fixtures.suite import PASSING, catalogue

from embedder_service import __main__ as embedder
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.interactions.v1 import interactions_pb2
from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceStub
from marquee.search.v1 import index_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service import __main__ as search
from search_service.settings import SearchSettings
from suite.index_builder import Batch, build_index, fill_index, find_current_index
from suite.interaction_recorder import record_interactions


@dataclass(frozen=True)
class Services:
    model: EmbedderServiceStub
    indexes: IndexServiceStub
    users: InteractionServiceStub
    movies: list[types_pb2.Movie]

    async def names(self) -> dict[str, bool]:
        """Return the names of all indexes, and whether each is active."""
        listed = await self.indexes.ListIndexes(index_pb2.ListIndexesRequest())
        return {index.name: index.active for index in listed.indexes}


@pytest.fixture
async def services(tiny_bundle: Bundle, lite_uri: str) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:

        async def start(module, settings) -> grpc.aio.Channel:
            telemetry = Telemetry(module.__name__)
            server = await stack.enter_async_context(serving(settings, module.wire, telemetry))
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
            return await stack.enter_async_context(channel)

        embedding = await start(embedder, EmbedderSettings(bundle=tiny_bundle.path, **PASSING))
        searching = await start(search, SearchSettings(milvus_uri=lite_uri, **PASSING))
        yield Services(
            EmbedderServiceStub(embedding),
            IndexServiceStub(searching),
            InteractionServiceStub(searching),
            catalogue(tiny_bundle),
        )


async def test_an_index_is_built_beside_the_active_one_which_it_then_replaces(
    services: Services,
) -> None:
    written: list[int] = []
    first = await build_index(services.model, services.indexes, services.movies, written.append)
    assert sum(written) == first.index.movie_count == len(services.movies)
    assert (first.replaced, first.kept) == ("", ())
    second = await build_index(services.model, services.indexes, services.movies[:7])
    assert second.index.movie_count == 7
    assert (second.replaced, second.kept) == (first.index.name, ())
    third = await build_index(services.model, services.indexes, services.movies)
    assert len({built.index.name for built in (first, second, third)}) == 3
    assert await services.names() == {third.index.name: True}


async def test_the_current_index_is_of_the_model_served_and_of_the_right_size(
    services: Services,
) -> None:
    assert await find_current_index(services.model, services.indexes, 7) is None
    built = await build_index(services.model, services.indexes, services.movies[:7])
    assert await find_current_index(services.model, services.indexes, 7) == built.index
    assert await find_current_index(services.model, services.indexes, 8) is None


async def test_a_build_that_fails_leaves_what_was_active_and_the_next_one_clears_up(
    services: Services,
) -> None:
    model = await services.model.GetModel(embedder_pb2.GetModelRequest())
    embedded = await services.model.EmbedMovies(
        embedder_pb2.EmbedMoviesRequest(movies=services.movies)
    )
    active = (await build_index(services.model, services.indexes, services.movies)).index.name
    other = index_pb2.CreateIndexRequest(
        name="other", model_version=model.version, dimension=model.dimension, genres=model.genres
    )

    async def batches(*, fails: bool) -> AsyncIterator[Batch]:
        yield Batch(services.movies, embedded.vectors)
        if fails:
            raise RuntimeError("the embedder is gone")

    with pytest.raises(RuntimeError, match="the embedder is gone"):
        await fill_index(services.indexes, other, batches(fails=True))
    assert await services.names() == {active: True, "other": False}
    filled = await fill_index(services.indexes, other, batches(fails=False))
    assert filled.previous == active
    assert filled.write_seconds > 0
    assert await services.names() == {active: False, "other": True}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fill_index(services.indexes, other, batches(fails=False))
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert await services.names() == {active: False, "other": True}


async def test_two_builds_at_once_do_not_meet(services: Services) -> None:
    one, two = await asyncio.gather(
        build_index(services.model, services.indexes, services.movies),
        build_index(services.model, services.indexes, services.movies[:7]),
    )
    assert (one.index.movie_count, two.index.movie_count) == (len(services.movies), 7)
    names = await services.names()
    assert names.keys() <= {one.index.name, two.index.name}
    assert sum(names.values()) == 1  # is active


async def test_a_build_that_fails_deletes_its_index(services: Services) -> None:
    unknown = types_pb2.Movie(movie_id=1, title="A", genres=["no genre of the model"])
    with pytest.raises(grpc.aio.AioRpcError):
        await build_index(services.model, services.indexes, [*services.movies[1:], unknown])
    assert await services.names() == {}


async def test_a_build_deletes_what_one_of_its_model_left_long_ago_and_nothing_else(
    services: Services,
) -> None:
    model = await services.model.GetModel(embedder_pb2.GetModelRequest())
    now = f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
    for name, version in {
        "tiny_20200101_000000_0123abcd": model.version,
        f"tiny_{now}_0123abcd": model.version,  # being built
        "tiny_20200101_000000_a": model.version,  # named by somebody
        "other_20200101_000000_0123abcd": "other",
    }.items():
        await services.indexes.CreateIndex(
            index_pb2.CreateIndexRequest(
                name=name, model_version=version, dimension=model.dimension, genres=model.genres
            )
        )
    built = await build_index(services.model, services.indexes, services.movies)
    assert set(built.kept) == {
        f"tiny_{now}_0123abcd",
        "tiny_20200101_000000_a",
        "other_20200101_000000_0123abcd",
    }
    assert (await services.names()).keys() == {built.index.name, *built.kept}


async def test_an_empty_catalogue_is_not_indexed(services: Services) -> None:
    with pytest.raises(ValueError, match="nothing to index"):
        await build_index(services.model, services.indexes, [])
    assert await services.names() == {}


async def test_any_number_of_interactions_is_recorded_in_requests_that_the_service_takes(
    services: Services,
) -> None:
    made = [
        interactions_pb2.Interaction(
            user_id=user_id,
            movie_id=movie_id,
            kind=interactions_pb2.INTERACTION_KIND_SEEN,
            time={"seconds": movie_id},
        )
        for user_id in (1, 2)
        for movie_id in range(1, 701)
    ]
    progress: list[int] = []
    await record_interactions(services.users, made, progress.append)
    assert progress == [1000, 400]
    held = await services.users.GetUserData(interactions_pb2.GetUserDataRequest(user_id=2))
    assert [*held.interactions] == made[700:]
