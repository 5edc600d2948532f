"""What an edition promises, to whoever keeps answers: nothing under it is older than it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import catalogue, spec, unit_vectors

from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import Movie, Query, VectorIndex
from search_service.open_index import open_store
from search_service.resident.exact_index import ExactIndex
from search_service.settings import SearchSettings
from search_service.store.active_index_watcher import SILENCE_SECONDS
from search_service.store.milvus_client import Milvus

BEST = unit_vectors(1, seed=1)
SIZE = 20
SECONDS = 15.0


@pytest.fixture(params=["exact", "lite", "lite resident", "server", "server resident"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[VectorIndex]:
    if request.param == "exact":
        yield ExactIndex()
        return
    uri = request.getfixturevalue("milvus_uri" if "server" in request.param else "lite_uri")
    await wipe(uri)
    engine = "resident" if "resident" in request.param else "milvus"
    async with open_store(SearchSettings(milvus_uri=uri, engine=engine), Telemetry("test")) as one:
        yield one


@pytest.fixture(params=["milvus", "resident"])
async def replicas(
    request: pytest.FixtureRequest, milvus_uri: str
) -> AsyncIterator[tuple[VectorIndex, VectorIndex, Milvus]]:
    await wipe(milvus_uri)
    settings = SearchSettings(milvus_uri=milvus_uri, engine=request.param)
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(open_store(settings, Telemetry("test")))
            for _ in range(2)
        ]
        yield one, two, await stack.enter_async_context(Milvus.connect(milvus_uri, "", 5.0))


async def build(index: VectorIndex, name: str = "movies", size: int = SIZE) -> list[Movie]:
    movies, vectors = catalogue(size)
    await index.create(spec(name))
    await index.upsert(spec(name), movies, vectors)
    await index.activate(spec(name), size)
    return movies


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < SECONDS
        await asyncio.sleep(0.02)


async def known(index: VectorIndex, name: str = "movies") -> str:
    async def is_known() -> bool:
        return index.edition(spec(name)) != ""

    await until(is_known)
    return index.edition(spec(name))


async def test_an_edition_stays_while_nothing_is_written(index: VectorIndex) -> None:
    await build(index)
    edition = await known(index)
    await index.search(spec(), BEST, [Query(5)])
    await asyncio.sleep(1.0)
    assert await known(index) == edition


async def test_every_write_gives_an_edition_of_its_own_at_once(index: VectorIndex) -> None:
    movies = await build(index)
    editions = [await known(index)]
    for title in ("one", "two", "one"):
        await index.upsert(spec(), [replace(movies[0], title=title)], BEST)
        assert index.edition(spec()) not in editions
        editions.append(await known(index))
    for movie in movies[:2]:
        await index.delete_movies(spec(), [movie.movie_id])
        assert index.edition(spec()) not in editions
        editions.append(await known(index))
    assert len(set(editions)) == len(editions)


async def test_the_edition_follows_the_active_index_and_comes_back_with_it(
    index: VectorIndex,
) -> None:
    await build(index, "first")
    first = await known(index, "first")
    await build(index, "second")
    assert await known(index, "second") != first
    await index.activate(spec("first"), None)
    assert await known(index, "first") == first


async def test_an_index_of_the_same_name_made_anew_has_another_edition(index: VectorIndex) -> None:
    await build(index)
    edition = await known(index)
    await build(index, "other")
    await index.drop(spec())
    await build(index)
    assert await known(index) != edition


async def test_a_refused_write_leaves_the_edition(index: VectorIndex) -> None:
    movies = await build(index)
    edition = await known(index)
    with pytest.raises(Exception, match="genre"):
        await index.upsert(spec(), [replace(movies[0], genres=("Nonsense",))], BEST)
    assert await known(index) == edition


async def test_what_a_replica_finds_is_never_older_than_the_edition_that_it_says(
    replicas: tuple[VectorIndex, VectorIndex, Milvus],
) -> None:
    one, two, milvus = replicas
    movie = (await build(one))[0]
    written: dict[str, int] = {}  # number of the write by its edition
    acknowledged: list[float] = []  # when each write was
    samples: list[tuple[float, str, int]] = []
    done = False

    async def write(number: int) -> None:
        await one.upsert(spec(), [replace(movie, title=str(number))], BEST)
        acknowledged.append(time.monotonic())
        written[(await milvus.spec_and_edition("movies"))[1]] = number

    async def sample(index: VectorIndex) -> None:
        while not done:
            began, edition = time.monotonic(), index.edition(spec())
            (hits,) = await index.search(spec(), BEST, [Query(1)])
            samples.append((began, edition, int(hits[0].movie.title)))
            await asyncio.sleep(0.005)

    await write(0)

    async def sees_it() -> bool:
        (hits,) = await two.search(spec(), BEST, [Query(1)])
        return hits[0].movie.title == "0"

    await until(sees_it)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(sample(one))
        group.create_task(sample(two))
        for number in range(1, 9):
            await write(number)
            await asyncio.sleep(0.4 if number % 3 else 1.6)
        done = True
    known_ones = [
        (began, written.get(edition, -1), found) for began, edition, found in samples if edition
    ]
    assert {number for _, number, _ in known_ones} >= {3, 6}
    for began, number, found in known_ones:
        assert found >= number
        newest = sum(moment + SILENCE_SECONDS < began for moment in acknowledged) - 1
        assert number >= newest, "an edition was said longer than it may be"
