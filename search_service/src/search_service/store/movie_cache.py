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

WATCHED_SECONDS = 60.0
"""How long what is kept of an index lasts while its writes are noticed."""

Read = Callable[[Collection[int]], Awaitable[dict[int, IndexedMovie]]]


@dataclass(slots=True)
class _Shelf:
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
        self._shelves: dict[str, _Shelf] = {}

    async def get(
        self, index: str, movie_ids: Iterable[int], read: Read, *, watched: bool
    ) -> dict[int, IndexedMovie]:
        """Return movies by id, reading those that are not kept.

        Args:
            index: Name of the index.
            movie_ids: Which ones; those that `read` does not find are left out.
            read: Reads movies by id.
            watched: Whether `forget` is called as soon as another process writes to the index.
        """
        longest = max(self._max_age, WATCHED_SECONDS) if watched else self._max_age
        shelf = self._shelf(index)
        if self._clock() - shelf.born > longest:
            self.forget(index)  # so that a read under way keeps nothing
            shelf = self._shelf(index)
        wanted = set(movie_ids)
        missing = wanted - shelf.movies.keys()
        found = {i: shelf.movies[i] for i in wanted - missing}
        if missing:
            writes = shelf.writes
            fresh = await read(missing)
            found.update(fresh)
            if shelf.writes == writes:  # else some of it may be older than the write
                self._keep(shelf, fresh)
        return found

    def changed(self, index: str, movie_ids: Iterable[int]) -> None:
        """Drop movies that were written or deleted."""
        shelf = self._shelf(index)
        shelf.writes += 1
        for movie_id in movie_ids:
            shelf.movies.pop(movie_id, None)

    def forget(self, index: str) -> None:
        """Drop all that is kept for an index."""
        if shelf := self._shelves.pop(index, None):
            shelf.writes += 1

    def _shelf(self, index: str) -> _Shelf:
        shelf = self._shelves.get(index)
        if shelf is None:
            shelf = self._shelves[index] = _Shelf(self._clock())
        return shelf

    def _keep(self, shelf: _Shelf, movies: dict[int, IndexedMovie]) -> None:
        shelf.movies.update(movies)
        while len(shelf.movies) > self._capacity:
            del shelf.movies[next(iter(shelf.movies))]
