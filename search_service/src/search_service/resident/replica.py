"""An index of the store, held in memory and kept as it is in the store.

Every write has a revision, the writer's clock in nanoseconds when it began. A look at the store
counts its movies, lists those written since the look before, less `OVERLAP_SECONDS` for writes that
took their time and clocks that differ, and reads those whose revision is not the known one.
Deletions leave no revision: they are seen by the count, and found by comparing all ids.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search_service.index.vector_index import Hits, IndexedMovie, IndexSpec, Query, Vectors
from search_service.resident.movie_table import MovieTable
from search_service.store.milvus_client import Milvus

log = logging.getLogger(__name__)

OVERLAP_SECONDS = 15.0
"""How long a write may take, plus how far the writer's clock may be behind this one's."""
FRESH_SECONDS = 2.0
"""Age of the last complete look at the store from which on the replica is not asked."""

_PAGE_IDS = 1000
_PAGE_VALUES = 1 << 15
"""Numbers of vectors in a page: unpacking one takes pymilvus about 3 ms."""
_INLINE_VALUES = 1 << 22
"""Numbers of vectors in a table beyond which one product takes longer than the loop may wait."""
_BATCH_VALUES = 1 << 25
"""Numbers that the rows of a batch may be multiplied with before others have their turn."""
_BATCH_SCORES = 1 << 17
"""Scores of a batch at once, half a mebibyte: more is more than caches hold, and is memory that the
kernel maps anew for each batch. 64 rows by 3,883 movies: 37 µs a row, in two parts 22."""
_LEAST_ROWS = 4
"""Rows that are searched together at least; fewer are slower than a product of matrices."""

_LAST = 2**63 - 1
"""No id is larger."""


class Replica:
    """One index. It belongs to one event loop; what may take long runs in a thread."""

    def __init__(
        self,
        spec: IndexSpec,
        milvus: Milvus,
        *,
        limit: int,
        shared: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty; `synchronize` fills it.

        Args:
            spec: The index.
            milvus: The store.
            limit: Most movies that are held.
            shared: Whether others can write to the store.
            clock: In seconds.
        """
        self.spec = spec
        self.problem: str | None = None
        """Why the replica cannot be what the store is, though the store answers."""
        self.over_limit: str | None = None
        """Why it is not even tried."""
        self._milvus = milvus
        self._limit = limit
        self._shared = shared
        self._clock = clock
        self._table = MovieTable(spec)
        self._revisions: dict[int, int] = {}
        self._since = 0  # what was written before this is known; 0 before all has been read
        self._compared_at = (
            -math.inf
        )  # when the look began after which the replica was as the store
        self._uncertain_writes = 0
        self._changed_here: set[int] = set()  # movies written or deleted here since a look began
        self._table_lock = asyncio.Lock()  # the table has no defence against two threads

    @property
    def usable(self) -> bool:
        """Whether it is what the store is, or was less than `FRESH_SECONDS` ago."""
        if self.problem or self.over_limit:
            return False
        return self._clock() - self._compared_at < (FRESH_SECONDS if self._shared else math.inf)

    async def search(self, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        """Find the nearest movies; see VectorIndex."""
        async with self._table_lock:
            if self._is_large():
                return await asyncio.to_thread(self._table.search, vectors, queries)
            movies = max(1, len(self._table))
            most = min(_BATCH_VALUES // (movies * self.spec.dimension), _BATCH_SCORES // movies)
            step = max(_LEAST_ROWS, most)
            if len(queries) <= step:
                return self._table.search(vectors, queries)
            hits: list[Hits] = []
            for start in range(0, len(queries), step):
                part = slice(start, start + step)
                rows = Vectors(vectors.values[part], vectors.model_version)
                hits += self._table.search(rows, queries[part])
                await asyncio.sleep(0)
            return hits

    def get(self, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """Return those of the movies that it has, by id."""
        return self._table.get(movie_ids)

    async def upserted(
        self, movies: Sequence[IndexedMovie], vectors: Vectors, revision: int
    ) -> None:
        """Take over movies that were written to the store just now."""
        self._changed_here.update(movie.movie_id for movie in movies)
        newer = [
            row
            for row, movie in enumerate(movies)
            if self._revisions.get(movie.movie_id, 0) < revision
        ]
        if newer:
            await self._upsert(
                [movies[row] for row in newer], vectors.values[newer], [revision] * len(newer)
            )

    async def deleted(self, movie_ids: Sequence[int]) -> None:
        """Drop movies that were deleted from the store just now."""
        self._changed_here.update(movie_ids)
        await self._delete(movie_ids)

    def mark_uncertain(self) -> None:
        """Be unusable until the next look: a write failed, and may have happened or not."""
        self._uncertain_writes += 1
        self._compared_at = -math.inf

    async def synchronize(self) -> None:
        """Look at the store, and take over what others wrote and deleted.

        Raises:
            StoreUnavailableError: The store does not answer.
            IndexNotFoundError: The index is gone.
        """
        if self.usable and not self._shared:
            return
        began, doubts = self._clock(), self._uncertain_writes
        since = time.time_ns() - round(OVERLAP_SECONDS * 1e9)
        self._changed_here.clear()
        # Sees every write up to now, and so do all reads after it.
        count = await self._milvus.count(self.spec.name)
        if count > self._limit:
            self._give_up_over_limit(count)
            return
        self.over_limit = None
        if not self._revisions:
            self._table = MovieTable(self.spec, capacity=count + count // 8)
        if self._since:
            await self._compare_revisions(self._since)
        if not self._since or len(self._revisions) != count:
            await self._compare_revisions(0)
            if await self._count_differs_from(count):
                self._report_missing(count)
                return
        self.problem = None
        self._since = since
        if doubts == self._uncertain_writes:
            self._compared_at = began

    async def _count_differs_from(self, count: int) -> bool:
        """Tell whether it holds another number than a store in which nothing happens."""
        if len(self._revisions) == count or self._changed_here:
            return False
        return await self._milvus.count(self.spec.name) == count and not self._changed_here

    async def _compare_revisions(self, since: int) -> None:
        """Take over what has another revision than here.

        Args:
            since: Oldest revision that is looked at. 0: all; then what is not there goes.
        """
        known = self._table.ids()[: 0 if since else None]
        after = 0
        while after < _LAST:
            page = await self._milvus.revisions(self.spec.name, since, after, _PAGE_IDS)
            last = max(page) if len(page) == _PAGE_IDS else _LAST
            await self._fetch([i for i, now in page.items() if self._revisions.get(i) != now])
            here = known[(known > after) & (known <= last)].tolist()
            await self._delete([i for i in here if i not in page and i not in self._changed_here])
            after = last

    async def _fetch(self, movie_ids: Sequence[int]) -> None:
        step = max(1, _PAGE_VALUES // self.spec.dimension)
        for start in range(0, len(movie_ids), step):
            records = await self._milvus.stored_movies(self.spec, movie_ids[start : start + step])
            await asyncio.sleep(0)  # unpacking them took its time, and so does keeping them
            current = [one for one in records if one.movie.movie_id not in self._changed_here]
            if current:
                await self._upsert(
                    [one.movie for one in current],
                    np.stack([one.vector for one in current]),
                    [one.revision for one in current],
                )

    async def _upsert(
        self, movies: Sequence[IndexedMovie], values: NDArray[np.float32], revisions: Sequence[int]
    ) -> None:
        vectors = Vectors(values, self.spec.model_version)
        async with self._table_lock:
            if self._is_large():
                await asyncio.to_thread(self._table.upsert, movies, vectors)
            else:
                self._table.upsert(movies, vectors)
            for movie, revision in zip(movies, revisions, strict=True):
                self._revisions[movie.movie_id] = revision

    async def _delete(self, movie_ids: Sequence[int]) -> None:
        async with self._table_lock:
            self._table.delete(movie_ids)
            for movie_id in movie_ids:
                self._revisions.pop(movie_id, None)

    def _is_large(self) -> bool:
        return len(self._table) * self.spec.dimension > _INLINE_VALUES

    def _give_up_over_limit(self, count: int) -> None:
        self.over_limit = (
            f"index {self.spec.name!r} holds {count} movies, "
            f"resident_limit lets {self._limit} be held in memory"
        )
        self._table = MovieTable(self.spec)
        self._revisions.clear()
        self._since = 0

    def _report_missing(self, count: int) -> None:
        problem = (
            f"index {self.spec.name!r} counts {count} movies in Milvus, "
            f"of which {len(self._revisions)} can be read"
        )
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem
