"""Every write leaves an edition in the store, by which other processes notice it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import catalogue, spec, unit_vectors

from rpckit.errors import InvalidRequestError
from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import IndexedMovie, VectorIndex
from search_service.open_index import open_index
from search_service.settings import SearchSettings
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus

BEST = unit_vectors(1, seed=1)
SIZE = 20


@pytest.fixture(params=["lite_uri", "milvus_uri"])
async def uri(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    await wipe(found)
    return found


@pytest.fixture(params=["milvus", "resident"])
async def index(
    request: pytest.FixtureRequest, uri: str
) -> AsyncIterator[tuple[VectorIndex, Milvus]]:
    # Lite, too, by its address: here the store is looked at from outside.
    settings = SearchSettings(milvus_uri=uri, engine=request.param)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_index(settings, Telemetry("test")))
        yield one, await stack.enter_async_context(Milvus.connect(MilvusAddress(uri), 5.0))


async def build(index: VectorIndex, name: str = "movies") -> list[IndexedMovie]:
    movies, vectors = catalogue(SIZE)
    await index.create(spec(name))
    await index.upsert(spec(name), movies, vectors)
    await index.activate(spec(name), SIZE)
    return movies


async def edition(milvus: Milvus, name: str = "movies") -> str:
    return (await milvus.spec_and_edition(name))[1]


async def test_every_write_leaves_an_edition_of_its_own_before_it_returns(
    index: tuple[VectorIndex, Milvus],
) -> None:
    one, milvus = index
    movies = await build(one)
    editions = [await edition(milvus)]
    for title in ("one", "two", "one"):
        await one.upsert(spec(), [replace(movies[0], title=title)], BEST)
        editions.append(await edition(milvus))
    for movie in movies[:2]:
        await one.delete_movies(spec(), [movie.movie_id])
        editions.append(await edition(milvus))
    assert "" not in editions
    assert len(set(editions)) == len(editions)


async def test_an_activation_leaves_the_editions(index: tuple[VectorIndex, Milvus]) -> None:
    one, milvus = index
    await build(one, "first")
    first = await edition(milvus, "first")
    await build(one, "second")
    assert await edition(milvus, "second") != first
    await one.activate(spec("first"), None)
    assert await edition(milvus, "first") == first


async def test_an_index_of_the_same_name_made_anew_has_another_edition(
    index: tuple[VectorIndex, Milvus],
) -> None:
    one, milvus = index
    await build(one)
    before = await edition(milvus)
    await build(one, "other")
    await one.drop(spec())
    await build(one)
    assert await edition(milvus) != before


async def test_a_refused_write_leaves_the_edition(index: tuple[VectorIndex, Milvus]) -> None:
    one, milvus = index
    movies = await build(one)
    before = await edition(milvus)
    with pytest.raises(InvalidRequestError):
        await one.upsert(spec(), [replace(movies[0], genres=("Nonsense",))], BEST)
    assert await edition(milvus) == before


async def test_a_write_has_an_edition_of_its_own_when_it_begins_and_another_if_it_fails(
    index: tuple[VectorIndex, Milvus], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, milvus = index
    movies = await build(one)
    editions = [await edition(milvus)]

    async def fails(*_: object) -> int:
        editions.append(await edition(milvus))
        raise ConnectionError("before or after the write")

    monkeypatch.setattr(Milvus, "upsert", fails)
    with pytest.raises(ConnectionError):
        await one.upsert(spec(), movies[:1], BEST)
    editions.append(await edition(milvus))
    assert len(set(editions)) == 3
