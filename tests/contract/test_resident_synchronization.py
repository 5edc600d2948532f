"""The replica in memory equals the store, whoever writes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

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
from tests.fixtures.movies import DIMENSION, spec, unit_vectors

from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import Hit, IndexedMovie, Query, Vectors
from search_service.open_index import open_index
from search_service.resident import replica_table
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
        queries = [Query(5 + n, excluded=frozenset({movies[n].movie_id})) for n in range(7)]
        expected = await index.search(spec(), unit_vectors(7, 1), queries)
        monkeypatch.setattr(replica_table, bound, value)
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
