"""The replica in memory equals the store, whoever writes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.contract.conftest import (
    BOUND_SECONDS,
    RESIDENT,
    Opened,
    activate,
    engine,
    found,
    ready,
    seconds_until,
)
from tests.fixtures.movies import DIMENSION, id_array, spec, unit_vectors

from rpckit.observing.telemetry import Telemetry
from search_service.index.query import Query
from search_service.index.vector_index import Hit, IndexedMovie, VectorIndex, Vectors
from search_service.open_index import open_index
from search_service.resident import replica, table_slices
from search_service.settings import SearchSettings
from search_service.store.milvus_client import Milvus


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
    opened: Opened, empty_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await opened(), await opened()
    movies = await activate(one, spec(), 20)
    await seconds_until(lambda: ready(two))
    late = time.time_ns() - round(0.8 * replica.OVERLAP_SECONDS * 1e9)
    monkeypatch.setattr(
        "search_service.store.milvus_client.time", SimpleNamespace(time_ns=lambda: late)
    )
    async with AsyncExitStack() as stack:
        settings = SearchSettings(milvus_uri=empty_server, engine="milvus")
        behind = await stack.enter_async_context(open_index(settings, Telemetry("test")))
        new = replace(movies[0], title="Written by a clock that is behind")
        await behind.upsert(spec(), [new], unit_vectors(1, 1))

    async def sees() -> bool:
        return new in await found(two)

    assert await seconds_until(sees) < BOUND_SECONDS


async def test_a_write_whose_end_is_not_known_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Milvus Lite, which nobody else can write to, is not looked at otherwise.
    settings = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with open_index(settings, Telemetry("test")) as index:
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


@pytest.mark.parametrize(
    ("bound", "value"),
    [("_INLINE_FLOATS", 0), ("_INLINE_PRODUCTS", 60 * DIMENSION * 2), ("_INLINE_SCORES", 60 * 5)],
    ids=["in a thread", "a few rows at a time", "a few scores at a time"],
)
async def test_what_would_hold_up_the_loop_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    settings = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with open_index(settings, Telemetry("test")) as index:
        movies = await activate(index, spec(), 60)
        queries = [Query(5 + n, excluded=id_array([movies[n].movie_id])) for n in range(7)]
        expected = await index.search(spec(), unit_vectors(7, 1), queries)
        monkeypatch.setattr(table_slices, bound, value)
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
