"""What hits are dressed with: movies by id, kept because reading them costs more than finding them.

A write of this process drops what it changed at once. What another replica changed is seen when
everything kept for the index is dropped: as soon as a write is noticed
(search_service.store.active_index_watcher), and some time after the first of it was read, in case
nobody watches or the writer was killed before it could leave word.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from search_service.index.vector_index import IndexedMovie

NOTICED_SECONDS = 60.0
"""How long what is kept of an index lasts while its writes are noticed."""

Read = Callable[[Collection[int]], Awaitable[dict[int, IndexedMovie]]]


@dataclass(slots=True)
class _CachedIndex:
    """What is kept for one index."""

    born: float
    writes: int = 0
    movies: dict[int, IndexedMovie] = field(default_factory=dict)


class MovieCache:
    """Movies by index and id."""

    def __init__(
        self, capacity: int, max_age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty.

        Args:
            capacity: Most movies kept for an index.
            max_age: Seconds that what is kept of an index lasts while its writes are not noticed.
            clock: In seconds.
        """
        self._capacity = capacity
        self._max_age = max_age
        self._clock = clock
        self._indexes: dict[str, _CachedIndex] = {}

    async def get(
        self, index: str, movie_ids: Iterable[int], read: Read, *, writes_noticed: bool
    ) -> dict[int, IndexedMovie]:
        """Return movies by id, reading those that are not kept.

        Args:
            index: Name of the index.
            movie_ids: Which ones; those that `read` does not find are left out.
            read: Reads movies by id.
            writes_noticed: Whether `forget` is called when another process writes to the index.
        """
        longest = max(self._max_age, NOTICED_SECONDS) if writes_noticed else self._max_age
        cached = self._cached_index(index)
        if self._clock() - cached.born > longest:
            self.forget(index)  # so that a read under way keeps nothing
            cached = self._cached_index(index)
        wanted = set(movie_ids)
        missing = wanted - cached.movies.keys()
        found = {i: cached.movies[i] for i in wanted - missing}
        if missing:
            writes = cached.writes
            fresh = await read(missing)
            found.update(fresh)
            if cached.writes == writes:  # else some of it may be older than the write
                self._keep(cached, fresh)
        return found

    def invalidate(self, index: str, movie_ids: Iterable[int]) -> None:
        """Drop movies that were written or deleted."""
        cached = self._cached_index(index)
        cached.writes += 1
        for movie_id in movie_ids:
            cached.movies.pop(movie_id, None)

    def forget(self, index: str) -> None:
        """Drop all that is kept for an index."""
        if cached := self._indexes.pop(index, None):
            cached.writes += 1

    def _cached_index(self, index: str) -> _CachedIndex:
        cached = self._indexes.get(index)
        if cached is None:
            cached = self._indexes[index] = _CachedIndex(self._clock())
        return cached

    def _keep(self, cached: _CachedIndex, movies: dict[int, IndexedMovie]) -> None:
        cached.movies.update(movies)
        while len(cached.movies) > self._capacity:
            del cached.movies[next(iter(cached.movies))]
