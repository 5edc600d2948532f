"""The movies of a replica with their revisions, for many readers and writers in one event loop.

Long computations run in a thread; nothing touches the table meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rpckit.finishing import finish_in_thread
from search_service.index.query import Query
from search_service.index.vector_index import Hits, IndexedMovie, IndexSpec, Vectors
from search_service.resident.movie_table import FEWEST_PRODUCT_ROWS, MovieTable

_INLINE_FLOATS = 1 << 22
"""Vector components in a table beyond which one matrix product blocks the event loop too long."""
_INLINE_PRODUCTS = 1 << 25
"""Multiplications in a slice of a search that runs in the event loop."""
_INLINE_SCORES = 1 << 17
"""Scores in such a slice, half a mebibyte: more exceed the CPU caches, and are memory that the
kernel maps anew for each slice. 64 rows by 3,883 movies: 37 µs a row, in two parts 22."""
_THREAD_SCORES = 1 << 22
"""Scores in a slice of a search that runs in a thread. A search takes up to 16 bytes a score, so
64 MiB."""
_SLICE_EXCLUSIONS = 1 << 16
"""Exclusions in a slice, but for those of a single query: to look up 10,000 takes 0.1 ms."""

Result = TypeVar("Result")


class ReplicaTable:
    """A MovieTable behind a lock, and the revision of each of its movies."""

    def __init__(self, spec: IndexSpec) -> None:
        """Start empty."""
        self._table = MovieTable(spec)
        self._revisions: dict[int, int] = {}  # by movie id
        self._lock = asyncio.Lock()  # MovieTable is not thread-safe

    def __len__(self) -> int:
        """Return the number of movies."""
        return len(self._revisions)

    async def reserve(self, capacity: int) -> None:
        """Allocate memory for this number of movies."""
        async with self._lock:
            self._table.reserve(capacity)

    async def search(self, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        """Find the movies with the largest inner product for each row; see VectorIndex.

        It works in slices of rows. After each, the event loop and whoever waits for the table have
        their turn, and a cancelled search ends.
        """
        hits: list[Hits] = []
        for part in self._slices(queries):
            rows = Vectors(vectors.values[part], vectors.model_version)
            async with self._lock:
                hits += await self._run(partial(self._table.search, rows, queries[part]))
            if part.stop - part.start < len(queries):
                await asyncio.sleep(0)
        return hits

    async def get(self, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """Return the movies with these ids that the table has, by id."""
        async with self._lock:
            return self._table.get(movie_ids)

    async def vectors(self, movie_ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of the movies with these ids that the table has, by id."""
        async with self._lock:
            return self._table.vectors(movie_ids)

    async def ids(self) -> NDArray[np.int64]:
        """Return the ids of all movies, ascending."""
        async with self._lock:
            return self._table.ids()

    def differing(self, ids: NDArray[np.int64], revisions: NDArray[np.int64]) -> list[int]:
        """Return the ids whose movie is missing here or has another revision."""
        held = self._revisions
        pairs = zip(ids.tolist(), revisions.tolist(), strict=True)
        return [movie_id for movie_id, revision in pairs if held.get(movie_id) != revision]

    async def upsert(
        self, movies: Sequence[IndexedMovie], vectors: Vectors, revisions: Sequence[int]
    ) -> None:
        """Insert or replace movies with one vector and one revision each."""

        def upsert() -> None:
            self._table.upsert(movies, vectors)
            ids = (movie.movie_id for movie in movies)
            # In the same step: a movie without a revision would outlive its deletion in Milvus.
            self._revisions.update(zip(ids, revisions, strict=True))

        async with self._lock:
            await self._run(upsert)

    async def delete(self, movie_ids: Collection[int]) -> None:
        """Delete movies, ignoring ids that the table does not have."""
        async with self._lock:
            self._table.delete(movie_ids)
            for movie_id in movie_ids:
                self._revisions.pop(movie_id, None)

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run work on the table, whose lock the caller holds, in a thread if it may take long."""
        return await finish_in_thread(work) if self._is_large() else work()

    def _is_large(self) -> bool:
        return len(self._table) * self._table.spec.dimension > _INLINE_FLOATS

    def _slices(self, queries: Sequence[Query]) -> Iterator[slice]:
        """Yield the slices of queries to search before others get their turn."""
        most = self._most_rows()
        start = exclusions = 0
        for row, query in enumerate(queries):
            exclusions += len(query.excluded)
            if row > start and (row - start == most or exclusions > _SLICE_EXCLUSIONS):
                yield slice(start, row)
                start, exclusions = row, len(query.excluded)
        if start < len(queries):
            yield slice(start, len(queries))

    def _most_rows(self) -> int:
        movies = max(1, len(self._table))
        if self._is_large():
            rows = _THREAD_SCORES // movies
        else:
            products = movies * self._table.spec.dimension
            rows = min(_INLINE_PRODUCTS // products, _INLINE_SCORES // movies)
        return max(FEWEST_PRODUCT_ROWS, rows)
