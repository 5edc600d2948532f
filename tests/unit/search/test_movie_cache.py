from __future__ import annotations

import asyncio
from collections.abc import Collection

from search_service.index.vector_index import IndexedMovie
from search_service.store.movie_cache import MAX_INDEXES, MovieCache


class Store:
    """Movies that can be read, and a record of what was."""

    def __init__(self, *movie_ids: int) -> None:
        self.movies = {i: IndexedMovie(i, f"Movie {i}", 0, ()) for i in movie_ids}
        self.reads: list[set[int]] = []
        self.hold: asyncio.Event | None = None

    async def read(self, movie_ids: Collection[int]) -> dict[int, IndexedMovie]:
        self.reads.append(set(movie_ids))
        found = {i: self.movies[i] for i in movie_ids if i in self.movies}
        if self.hold is not None:
            await self.hold.wait()
        return found


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_movie_is_read_once() -> None:
    store, cache = Store(1, 2, 3), MovieCache(10, 5.0, Clock())
    assert await cache.get("a", [1, 2, 1], store.read, writes_noticed=False) == {
        i: store.movies[i] for i in (1, 2)
    }
    assert await cache.get("a", [2, 3], store.read, writes_noticed=False) == {
        i: store.movies[i] for i in (2, 3)
    }
    assert store.reads == [{1, 2}, {3}]


async def test_what_is_not_there_is_left_out_and_asked_for_again() -> None:
    store, cache = Store(1), MovieCache(10, 5.0, Clock())
    assert 9 not in await cache.get("a", [1, 9], store.read, writes_noticed=False)
    store.movies[9] = IndexedMovie(9, "New", 0, ())
    assert 9 in await cache.get("a", [1, 9], store.read, writes_noticed=False)


async def test_indexes_do_not_share() -> None:
    one, two, cache = Store(1), Store(1), MovieCache(10, 5.0, Clock())
    await cache.get("a", [1], one.read, writes_noticed=False)
    await cache.get("b", [1], two.read, writes_noticed=False)
    assert two.reads == [{1}]


async def test_what_was_changed_is_read_anew() -> None:
    store, cache = Store(1, 2), MovieCache(10, 5.0, Clock())
    await cache.get("a", [1, 2], store.read, writes_noticed=False)
    cache.invalidate("a", [1])
    await cache.get("a", [1, 2], store.read, writes_noticed=False)
    assert store.reads[1:] == [{1}]


async def test_a_read_that_a_write_overtook_is_not_kept() -> None:
    store, cache = Store(1), MovieCache(10, 5.0, Clock())
    store.hold = asyncio.Event()
    reading = asyncio.create_task(cache.get("a", [1], store.read, writes_noticed=False))
    await asyncio.sleep(0)
    new = store.movies[1] = IndexedMovie(1, "New title", 0, ())
    cache.invalidate("a", [1])
    store.hold.set()
    await reading
    assert (await cache.get("a", [1], store.read, writes_noticed=False))[1] is new


async def test_a_read_that_a_new_index_overtook_is_not_kept() -> None:
    store, cache = Store(1), MovieCache(10, 5.0, Clock())
    store.hold = asyncio.Event()
    reading = asyncio.create_task(cache.get("a", [1], store.read, writes_noticed=False))
    await asyncio.sleep(0)
    cache.forget("a")
    new = store.movies[1] = IndexedMovie(1, "Of the new index", 0, ())
    store.hold.set()
    await reading
    assert (await cache.get("a", [1], store.read, writes_noticed=False))[1] is new


async def test_what_others_wrote_is_seen_when_what_is_kept_is_old() -> None:
    store, clock = Store(1), Clock()
    cache = MovieCache(10, 5.0, clock)
    await cache.get("a", [1], store.read, writes_noticed=False)
    clock.now = 5.0
    await cache.get("a", [1], store.read, writes_noticed=False)
    assert len(store.reads) == 1
    clock.now += 0.1
    await cache.get("a", [1], store.read, writes_noticed=False)
    assert len(store.reads) == 2


async def test_what_is_kept_lasts_while_somebody_says_when_it_is_old() -> None:
    store, clock = Store(1), Clock()
    cache = MovieCache(10, 5.0, clock)
    await cache.get("a", [1], store.read, writes_noticed=True)
    clock.now = 1e6
    await cache.get("a", [1], store.read, writes_noticed=True)
    assert len(store.reads) == 1
    cache.forget("a")
    await cache.get("a", [1], store.read, writes_noticed=True)
    assert len(store.reads) == 2


async def test_what_is_kept_lasts_for_max_age_once_nobody_watches() -> None:
    store, clock = Store(1), Clock()
    cache = MovieCache(10, 5.0, clock)
    await cache.get("a", [1], store.read, writes_noticed=True)
    clock.now = 5.1
    await cache.get("a", [1], store.read, writes_noticed=False)
    assert len(store.reads) == 2


async def test_no_more_are_kept_than_the_capacity() -> None:
    store, cache = Store(*range(100)), MovieCache(10, 5.0, Clock())
    assert len(await cache.get("a", range(100), store.read, writes_noticed=False)) == 100
    await cache.get("a", range(90, 100), store.read, writes_noticed=False)
    assert len(store.reads) <= 2
    await cache.get("a", range(10), store.read, writes_noticed=False)
    assert store.reads[-1] == set(range(10))


async def test_movies_of_the_latest_indexes_are_kept() -> None:
    store, cache = Store(1), MovieCache(10, 5.0, Clock())
    names = [f"index-{number}" for number in range(MAX_INDEXES + 1)]
    for name in [*names, names[-1], names[1]]:
        await cache.get(name, [1], store.read, writes_noticed=False)
    assert len(store.reads) == len(names)
    await cache.get(names[0], [1], store.read, writes_noticed=False)
    assert len(store.reads) == len(names) + 1
