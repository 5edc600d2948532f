"""The replica in memory: that it is what the store is, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pymilvus import AsyncMilvusClient
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import DIMENSION, catalogue, spec, unit_vectors

from rpckit.errors import NotReadyError
from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import ModelMismatchError
from search_service.index.vector_index import (
    Hit,
    IndexedMovie,
    IndexSpec,
    Query,
    VectorIndex,
    Vectors,
)
from search_service.open_index import open_store
from search_service.resident import replica
from search_service.settings import SearchSettings
from search_service.store import collection_schema
from search_service.store.milvus_client import Milvus

RESIDENT = "resident exact"
BOUND_SECONDS = replica.MAX_STALENESS_SECONDS
"""From the return of a write to its being seen by another search service."""


@pytest.fixture
async def uri(milvus_uri: str) -> str:
    """A Milvus server without indexes."""
    await wipe(milvus_uri)
    return milvus_uri


@pytest.fixture
async def opened(uri: str) -> AsyncIterator[Callable[..., Awaitable[VectorIndex]]]:
    """Opens search services on one Milvus."""
    async with AsyncExitStack() as stack:

        async def open_one(**settings: object) -> VectorIndex:
            chosen = SearchSettings(milvus_uri=uri, **{"engine": "resident"} | settings)
            return await stack.enter_async_context(open_store(chosen, Telemetry("test")))

        yield open_one


Opened = Callable[..., Awaitable[VectorIndex]]


async def activate(index: VectorIndex, made: IndexSpec, size: int) -> list[IndexedMovie]:
    """Build an index and make it the active one."""
    await index.create(made)
    movies, vectors = catalogue(size)
    await index.upsert(made, movies, replace(vectors, model_version=made.model_version))
    await index.activate(made, size)
    return movies


async def seconds_until(holds: Callable[[], Awaitable[bool]]) -> float:
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def ready(index: VectorIndex) -> bool:
    try:
        await index.check_active()
    except NotReadyError:
        return False
    return True


async def found(index: VectorIndex, made: IndexSpec | None = None) -> set[IndexedMovie]:
    """Return what a search that asks for everything finds."""
    made = made or spec()
    (hits,) = await index.search(made, unit_vectors(1, 1, made.model_version), [Query(1000)])
    return {hit.movie for hit in hits}


async def engine(index: VectorIndex, made: IndexSpec | None = None) -> str:
    return (await index.describe(made or spec())).engine


async def test_the_other_service_sees_writes_within_the_bound(opened: Opened) -> None:
    one, two = await opened(), await opened()
    movies = await activate(one, spec(), 60)
    await seconds_until(lambda: ready(two))
    for round_ in range(3):
        new = IndexedMovie(9_000 + round_, "new", 2000, ("Drama",))
        changed = replace(movies[round_], title=f"Changed in round {round_}")
        await one.upsert(spec(), [new, changed], unit_vectors(2, seed=round_))
        await one.delete_movies(spec(), [movies[50 + round_].movie_id])  # the count is as before
        expected = await found(one)
        assert len(expected) == 60

        async def sees(expected: set[IndexedMovie] = expected) -> bool:
            return await found(two) == expected

        assert await seconds_until(sees) < BOUND_SECONDS
        assert await engine(two) == RESIDENT
        row = unit_vectors(2, seed=round_).values[:1]
        (hits,) = await two.search(spec(), Vectors(row, spec().model_version), [Query(1)])
        assert hits[0].movie == new
        assert hits[0].similarity == pytest.approx(1)


async def test_writes_of_both_at_once_end_the_same(opened: Opened) -> None:
    one, two = await opened(), await opened()
    movies = await activate(one, spec(), 40)
    await seconds_until(lambda: ready(two))

    async def write(index: VectorIndex, writer: int) -> None:
        for n in range(6):
            mine = [replace(movie, title=f"{writer} wrote {n}") for movie in movies[n : n + 5]]
            await index.upsert(spec(), mine, unit_vectors(5, seed=writer * 10 + n))
            await index.delete_movies(spec(), [movies[20 + 2 * n + writer].movie_id])

    await asyncio.gather(write(one, 0), write(two, 1))
    await asyncio.sleep(BOUND_SECONDS)
    third = await opened(engine="milvus")
    vectors = unit_vectors(4, seed=99)
    queries = [Query(100)] * 4
    answers = [
        [[(hit.movie, round(hit.similarity, 4)) for hit in hits] for hits in answer]
        for answer in [await index.search(spec(), vectors, queries) for index in (one, two, third)]
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0][0]) == 28
    assert await engine(one) == await engine(two) == RESIDENT


async def test_the_writers_clock_may_be_behind(
    opened: Opened, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await opened(), await opened()
    movies = await activate(one, spec(), 20)
    await seconds_until(lambda: ready(two))
    late = time.time_ns() - round(0.8 * replica.OVERLAP_SECONDS * 1e9)
    monkeypatch.setattr(
        "search_service.store.milvus_client.time", SimpleNamespace(time_ns=lambda: late)
    )
    async with AsyncExitStack() as stack:
        settings = SearchSettings(milvus_uri=uri, engine="milvus")
        behind = await stack.enter_async_context(open_store(settings, Telemetry("test")))
        new = replace(movies[0], title="Written by a clock that is behind")
        await behind.upsert(spec(), [new], unit_vectors(1, 1))

    async def sees() -> bool:
        return new in await found(two)

    assert await seconds_until(sees) < BOUND_SECONDS


async def test_a_switch_is_answered_by_milvus_until_the_replica_is_complete(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await opened(engine="milvus"), await opened(engine="auto")
    first, second = spec("first"), spec("second", "model-2")
    old = set(await activate(one, first, 30))
    await seconds_until(lambda: is_resident(two, first))
    reads = asyncio.Event()
    real = Milvus.stored_movies

    async def slow(self: Milvus, *arguments: object) -> object:
        await reads.wait()
        return await real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Milvus, "stored_movies", slow)
    new = set(await activate(one, second, 50))

    async def follows() -> bool:
        return (await two.resolve("")).name == "second"

    await seconds_until(follows)
    for _ in range(10):
        assert await found(two, second) == new
        assert await engine(two, second) == "milvus FLAT"
        assert await found(two, first) == old
        await asyncio.sleep(0.05)
    assert await ready(two)
    reads.set()
    await seconds_until(lambda: is_resident(two, second))
    assert await found(two, second) == new
    assert await found(two, first) == old
    assert await engine(two, first) == "milvus FLAT"


async def is_resident(index: VectorIndex, made: IndexSpec) -> bool:
    return await ready(index) and await engine(index, made) == RESIDENT


async def test_a_store_that_contradicts_itself_makes_the_service_not_ready(
    opened: Opened, uri: str
) -> None:
    index = await opened(engine="auto")
    movies = await activate(index, spec(), 20)
    assert await ready(index)
    (twice,) = collection_schema.rows(spec(), movies[:1], unit_vectors(1, 1).values, revision=1)
    async with AsyncMilvusClient(uri=uri, dedicated=True) as client:
        await client.insert("movies", [twice])  # Milvus counts it, and finds it once

    async def not_ready() -> bool:
        return not await ready(index)

    assert await seconds_until(not_ready) < BOUND_SECONDS
    with pytest.raises(
        NotReadyError, match="Milvus counts 21 movies in index 'movies' but lists 20"
    ):
        await index.check_active()
    assert await engine(index) == "milvus FLAT"
    await index.delete_movies(spec(), [movies[0].movie_id])
    assert await seconds_until(lambda: ready(index)) < BOUND_SECONDS
    assert len(await found(index)) == 19
    assert await engine(index) == RESIDENT


async def test_an_index_whose_model_version_changes_is_never_answered_for_the_one_before(
    opened: Opened, uri: str
) -> None:
    index = await opened()
    await activate(index, spec(), 20)
    async with AsyncMilvusClient(uri=uri, dedicated=True) as client:
        changed = collection_schema.properties(replace(spec(), model_version="model-2"))
        await client.alter_collection_properties("movies", changed)

    async def knows() -> bool:
        return (await index.resolve("")).model_version == "model-2"

    assert await seconds_until(knows) < BOUND_SECONDS
    now = await index.resolve("")
    with pytest.raises(ModelMismatchError):
        await index.search(now, unit_vectors(1, 1), [Query(1)])
    assert len(await found(index, now)) == 20


async def test_an_index_over_the_limit_is_left_to_milvus_or_not_ready(opened: Opened) -> None:
    auto = await opened(engine="auto", resident_limit=20)
    movies = await activate(auto, spec(), 20)
    assert await engine(auto) == RESIDENT
    one_more = IndexedMovie(9_000, "", 0, ())
    await auto.upsert(spec(), [one_more], unit_vectors(1, 1))
    await seconds_until(lambda: engine_is(auto, "milvus FLAT"))
    assert await ready(auto)
    assert await found(auto) == {*movies, one_more}

    required = await opened(resident_limit=20)

    async def says_so() -> bool:
        try:
            await required.check_active()
        except NotReadyError as error:
            return "holds 21 movies, more than the 20 of resident_limit" in str(error)
        return False

    await seconds_until(says_so)
    await auto.delete_movies(spec(), [one_more.movie_id])
    await seconds_until(lambda: ready(required))
    await seconds_until(lambda: engine_is(auto, RESIDENT))
    assert await found(auto) == await found(required) == set(movies)


async def engine_is(index: VectorIndex, expected: str) -> bool:
    return await engine(index) == expected


async def test_a_write_whose_end_is_not_known_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Milvus Lite, which nobody else can write to, is not looked at otherwise.
    settings = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with open_store(settings, Telemetry("test")) as index:
        movies = await activate(index, spec(), 20)
        assert await engine(index) == RESIDENT
        real = Milvus.upsert

        async def breaks(self: Milvus, *arguments: object) -> int:
            await real(self, *arguments)  # type: ignore[arg-type]
            raise ConnectionError("lost just after")

        monkeypatch.setattr(Milvus, "upsert", breaks)
        new = replace(movies[0], title="Written, though it was not said so")
        with pytest.raises(ConnectionError):
            await index.upsert(spec(), [new], unit_vectors(1, 1))
        await asyncio.sleep(BOUND_SECONDS)
        assert await engine(index) == RESIDENT
        assert new in await found(index)


async def test_a_replica_that_cannot_look_at_the_store_is_not_asked(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await opened()
    await activate(index, spec(), 20)
    assert await engine(index) == RESIDENT

    async def silent(*_: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(Milvus, "revisions", silent)
    spent = await seconds_until(lambda: engine_is(index, "milvus FLAT"))
    assert spent < BOUND_SECONDS + 0.5
    assert len(await found(index)) == 20


@pytest.mark.parametrize(
    ("bound", "value"),
    [("_INLINE_FLOATS", 0), ("_BATCH_PRODUCTS", 60 * DIMENSION * 2), ("_BATCH_SCORES", 60 * 5)],
    ids=["in a thread", "a few rows at a time", "a few scores at a time"],
)
async def test_what_would_hold_up_the_loop_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    settings = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with open_store(settings, Telemetry("test")) as index:
        movies = await activate(index, spec(), 60)
        queries = [Query(5 + n, excluded=frozenset({movies[n].movie_id})) for n in range(7)]
        expected = await index.search(spec(), unit_vectors(7, 1), queries)
        monkeypatch.setattr(replica, bound, value)
        assert await index.search(spec(), unit_vectors(7, 1), queries) == [
            [Hit(hit.movie, pytest.approx(hit.similarity, abs=1e-6)) for hit in hits]
            for hits in expected
        ]
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(others())
        await index.search(spec(), unit_vectors(7, 1), queries)
        counting.cancel()
        assert turns >= 2
        await index.upsert(spec(), movies[:3], unit_vectors(3, 2))
        await index.delete_movies(spec(), [movies[5].movie_id])
        assert await engine(index) == RESIDENT
        assert len(await found(index)) == 59
