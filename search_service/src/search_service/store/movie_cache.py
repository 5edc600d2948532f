"""Cache of the titles, years and genres that hits show: reading them takes longer than the search.

A write of this process removes the movies that it changed. Writes of other processes are seen when
the whole entry of an index is dropped: whenever there may have been one
(search_service.store.active_index_watcher), or at the entry's maximum age if the index is not
watched.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from search_service.index.vector_index import IndexedMovie

MAX_INDEXES = 4
"""Indexes of which movies are cached. Every build has a new name, and nobody says when the index of
an old one was deleted elsewhere."""

Read = Callable[[Collection[int]], Awaitable[dict[int, IndexedMovie]]]
"""Reads movies by id from the store."""


@dataclass(slots=True)
class _Entry:
    """The cached movies of one index."""

    created_at: float
    """By the cache's clock, in seconds."""
    invalidations: int = 0
    """A read that began before the latest one may be outdated."""
    movies: dict[int, IndexedMovie] = field(default_factory=dict)


class MovieCache:
    """Movies by index and id."""

    def __init__(
        self, capacity: int, max_age: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty.

        Args:
            capacity: Largest number of movies to cache for an index.
            max_age: Maximum age of an index's entry while writes to the index go unnoticed, in
                seconds.
            clock: Monotonic clock, in seconds.
        """
        self._capacity = capacity
        self._max_age = max_age
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def get(
        self, index: str, movie_ids: Iterable[int], read: Read, *, writes_noticed: bool
    ) -> dict[int, IndexedMovie]:
        """Return movies by id, reading those that are not cached.

        Args:
            index: Name of the index.
            movie_ids: Ids of the movies; the result lacks those that `read` does not find.
            read: Reads the missing movies.
            writes_noticed: Whether `forget` is called when another process writes to the index.
        """
        entry = self._entry(index)
        if not writes_noticed and self._clock() - entry.created_at > self._max_age:
            self.forget(index)  # so that reads in progress are not cached
            entry = self._entry(index)
        wanted = set(movie_ids)
        missing = wanted - entry.movies.keys()
        found = {i: entry.movies[i] for i in wanted - missing}
        if missing:
            invalidations = entry.invalidations
            movies = await read(missing)
            found.update(movies)
            if entry.invalidations == invalidations:
                self._add(entry, movies)
        return found

    def invalidate(self, index: str, movie_ids: Iterable[int]) -> None:
        """Remove movies that were written or deleted."""
        entry = self._entry(index)
        entry.invalidations += 1
        for movie_id in movie_ids:
            entry.movies.pop(movie_id, None)

    def forget(self, index: str) -> None:
        """Remove all movies of an index."""
        if entry := self._entries.pop(index, None):
            entry.invalidations += 1

    def _entry(self, index: str) -> _Entry:
        entry = self._entries.get(index)
        if entry is None:
            while len(self._entries) >= MAX_INDEXES:
                self.forget(next(iter(self._entries)))
            entry = self._entries[index] = _Entry(self._clock())
        return entry

    def _add(self, entry: _Entry, movies: dict[int, IndexedMovie]) -> None:
        entry.movies.update(movies)
        while len(entry.movies) > self._capacity:
            del entry.movies[next(iter(entry.movies))]
