"""What a replica answers from memory while its computations run in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, catalogue, id_array, spec

from search_service.index.query import Filter, Query
from search_service.index.vector_index import Hits, IndexedMovie, Vectors
from search_service.resident import replica_table
from search_service.resident.movie_table import MovieTable
from search_service.resident.replica import Replica
from search_service.store.milvus_client import Milvus


@pytest.fixture
async def replica(milvus: Milvus, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """A replica of 20 movies that does everything in threads."""
    monkeypatch.setattr(replica_table, "_INLINE_FLOATS", 0)
    replica = Replica(spec(), milvus, limit=100_000, shared=False)
    await replica.synchronize()
    return replica


class Pause:
    """Makes a method of MovieTable wait in its thread, from its first call until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.entered, self.may_go_on = threading.Event(), threading.Event()
        self.calls = 0
        real = getattr(MovieTable, method)

        def paused(table: MovieTable, *arguments: object) -> object:
            self.calls += 1
            self.entered.set()
            assert self.may_go_on.wait(60)
            return real(table, *arguments)

        monkeypatch.setattr(MovieTable, method, paused)

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 60)


def everything(vector: float) -> Vectors:
    """One query whose inner product with a movie of `marked` shows the movie's mark."""
    values = np.zeros((1, DIMENSION), np.float32)
    values[0, 0] = vector
    return Vectors(values, MODEL)


def marked(ids: Sequence[int], title: str) -> tuple[list[IndexedMovie], Vectors]:
    """Movies whose vector carries their id."""
    values = np.zeros((len(ids), DIMENSION), np.float32)
    values[:, 0] = ids
    return [IndexedMovie(i, title, 2000, ()) for i in ids], Vectors(values, MODEL)


async def ids_and_marks(replica: Replica) -> dict[int, float]:
    (hits,) = await replica.search(everything(1), [Query(100_000)])
    return {hit.movie.movie_id: hit.similarity for hit in hits}


async def test_a_cancelled_upsert_and_another_leave_every_movie_its_vector(
    replica: Replica,
) -> None:
    # Found by attack: 3,224 movies had another movie's vector, for good.
    await replica.deleted([movie.movie_id for movie in catalogue(20)[0]])
    first, second = range(1, 20_001), range(10_001, 30_001)
    cancelled = asyncio.create_task(replica.upserted(*marked(first, "first"), 2**62))
    other = asyncio.create_task(replica.upserted(*marked(second, "second"), 2**62 + 1))
    await asyncio.sleep(0.02)
    cancelled.cancel()
    await asyncio.gather(cancelled, other, return_exceptions=True)
    await replica.upserted(*marked([30_001], "third"), 2**62 + 2)
    found = await ids_and_marks(replica)
    assert found == {i: float(i) for i in found}
    assert set(second) <= found.keys()


@pytest.mark.parametrize("waiting", ["get", "search", "upserted", "deleted"])
async def test_nothing_touches_the_table_before_the_thread_of_a_cancelled_write_has_ended(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    pause = Pause(monkeypatch, "upsert")
    writing = asyncio.create_task(replica.upserted(*marked([1, 2, 3], "new"), 2**62))
    await pause.has_begun()
    writing.cancel()
    calls = {
        "get": lambda: replica.get([1]),
        "search": lambda: replica.search(everything(1), [Query(1)]),
        "upserted": lambda: replica.upserted(*marked([1], "newer"), 2**62 + 1),
        "deleted": lambda: replica.deleted([2]),
    }
    other = asyncio.create_task(calls[waiting]())
    await asyncio.sleep(0.05)
    assert not writing.done()
    assert not other.done()
    assert pause.calls == 1
    pause.may_go_on.set()
    await other
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (await replica.get([3]))[3].title == "new"  # what had begun is there, whole


async def test_a_write_that_was_cancelled_in_memory_is_deleted_with_the_stores(
    replica: Replica, milvus: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(monkeypatch, "upsert")
    writing = asyncio.create_task(replica.upserted(*marked([7_000], "new"), 2**62))
    await pause.has_begun()
    writing.cancel()
    pause.may_go_on.set()
    await asyncio.gather(writing, return_exceptions=True)
    replica.invalidate()  # as ResidentIndex does; the store never had the movie
    await replica.synchronize()
    assert await replica.get([7_000]) == {}
    assert replica.usable


async def test_slices_find_what_one_search_finds(
    replica: Replica, milvus: Milvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    movies, vectors = catalogue(300, seed=5)
    # Small integers: every sum is exact, so products are equal however BLAS adds; and many tie.
    values = np.rint(vectors.values * 4).astype(np.float32)
    table = MovieTable(spec())
    table.upsert(movies, Vectors(values, MODEL))
    await replica.deleted([movie.movie_id for movie in catalogue(20)[0]])
    await replica.upserted(movies, Vectors(values, MODEL), 2**62)
    filters = [Filter(), Filter((GENRES[0],)), Filter(min_year=1990), Filter((GENRES[1],), 1960)]
    queries = [
        Query(1 + row % 40, filters[row % 4], id_array(m.movie_id for m in movies[row : row + 9]))
        for row in range(101)
    ]
    rows = Vectors(np.rint(catalogue(101, seed=9)[1].values * 4).astype(np.float32), MODEL)
    expected = table.search(rows, queries)
    for scores in (1, 300 * 7, 300 * 50, 300 * 200):
        monkeypatch.setattr(replica_table, "_THREAD_SCORES", scores)
        assert await replica.search(rows, queries) == expected


async def test_others_have_their_turn_between_slices_and_a_cancelled_search_ends_there(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_table, "_THREAD_SCORES", 0)  # the fewest rows at a time
    pause = Pause(monkeypatch, "search")
    rows = Vectors(np.ones((40, DIMENSION), np.float32), MODEL)
    long: asyncio.Task[list[Hits]] = asyncio.create_task(replica.search(rows, [Query(3)] * 40))
    await pause.has_begun()
    other = asyncio.create_task(replica.get([1]))
    await asyncio.sleep(0.01)
    pause.may_go_on.set()
    await other
    assert not long.done()
    calls = pause.calls
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    assert pause.calls <= calls + 1 < 10


async def test_a_slice_takes_bounded_memory(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = MovieTable.search

    def measured(table: MovieTable, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        sizes.append(len(queries) * len(table) * 16)
        return real(table, vectors, queries)

    monkeypatch.setattr(MovieTable, "search", measured)
    await replica.upserted(*marked(range(1, 50_001), "many"), 2**62)
    rows = Vectors(np.ones((300, DIMENSION), np.float32), MODEL)
    queries = [Query(1, Filter(min_year=1990 + row % 2)) for row in range(300)]
    assert len(await replica.search(rows, queries)) == 300
    assert max(sizes) <= 64 << 20
