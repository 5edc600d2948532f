"""When a replica is behind the Milvus that it copies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fixtures.movies import catalogue, spec, unit_vectors

from search_service.index.vector_index import IndexedMovie
from search_service.resident.replica import MAX_STALENESS_SECONDS, Replica
from search_service.store.milvus_client import Milvus


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("shared", [True, False])
async def test_it_is_behind_until_its_first_synchronization(milvus: Milvus, shared: bool) -> None:
    replica = Replica(spec(), milvus, limit=20, shared=shared)
    assert (replica.is_behind, replica.usable) == (True, False)
    await replica.synchronize()
    assert (replica.is_behind, replica.usable) == (False, True)


@pytest.mark.parametrize("shared", [True, False])
async def test_it_falls_behind_with_time_only_where_others_can_write(
    milvus: Milvus, shared: bool
) -> None:
    clock = Clock()
    replica = Replica(spec(), milvus, limit=20, shared=shared, clock=clock)
    await replica.synchronize()
    clock.now += MAX_STALENESS_SECONDS - 0.1
    assert not replica.is_behind
    clock.now += 0.1
    assert replica.is_behind == shared
    await replica.synchronize()
    assert not replica.is_behind


@pytest.mark.parametrize("shared", [True, False])
async def test_a_failed_write_leaves_it_behind_until_it_is_synchronized(
    milvus: Milvus, shared: bool
) -> None:
    replica = Replica(spec(), milvus, limit=20, shared=shared)
    await replica.synchronize()
    replica.invalidate()
    assert (replica.is_behind, replica.usable) == (True, False)
    await replica.synchronize()
    assert not replica.is_behind


async def test_over_the_limit_it_is_not_usable(milvus: Milvus) -> None:
    replica = Replica(spec(), milvus, limit=19, shared=False)
    await replica.synchronize()
    assert (
        replica.over_limit == "index 'movies' holds 20 movies, more than the 19 of resident_limit"
    )
    assert not replica.usable


Pages = Callable[[str, int, int], Awaitable[tuple[NDArray[np.int64], NDArray[np.int64]]]]


async def overtaken_write(milvus: Milvus) -> tuple[IndexedMovie, IndexedMovie, int]:
    """Write a movie, and another process's version of it at once.

    Returns:
        The movie, the version that the store has now, and the revision of the first.
    """
    mine = replace(catalogue(20)[0][0], title="Mine")
    theirs = replace(mine, title="Theirs, and later")
    revision = await milvus.upsert(spec(), [mine], unit_vectors(1, 1).values)
    await milvus.upsert(spec(), [theirs], unit_vectors(1, 2).values)
    await milvus.renew_edition("movies")
    return mine, theirs, revision


async def test_a_write_that_gets_into_memory_after_a_later_one_does_not_stay(
    milvus: Milvus,
) -> None:
    clock = Clock()
    replica = Replica(spec(), milvus, limit=20, shared=True, clock=clock)
    mine, theirs, revision = await overtaken_write(milvus)
    await replica.synchronize()
    clock.now += 10
    await replica.synchronize()
    assert await replica.get([mine.movie_id]) == {mine.movie_id: theirs}
    await replica.upserted([mine], unit_vectors(1, 1), revision)
    clock.now += 0.1  # too early for a check, and the edition is not new
    await replica.synchronize()
    assert await replica.get([mine.movie_id]) == {mine.movie_id: theirs}


async def test_a_write_during_a_comparison_is_kept_and_compared_again(
    milvus: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    replica = Replica(spec(), milvus, limit=20, shared=True, clock=clock)
    mine, theirs, revision = await overtaken_write(milvus)
    await replica.synchronize()
    read: Pages = milvus.revisions

    async def then_written(
        index: str, after: int, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        page = await read(index, after, limit)
        await replica.upserted([mine], unit_vectors(1, 1), revision)
        return page

    clock.now += 10
    with monkeypatch.context() as during:
        during.setattr(milvus, "revisions", then_written)
        await replica.synchronize()
    assert await replica.get([mine.movie_id]) == {mine.movie_id: mine}
    assert replica.usable
    clock.now += 0.1  # too early for a check, and the edition is not new
    await replica.synchronize()
    assert await replica.get([mine.movie_id]) == {mine.movie_id: theirs}
