"""An in-memory copy of one index, kept in sync with Milvus.

Every upsert carries a revision: the writer's clock, in nanoseconds, when the upsert began. A
synchronization counts the movies in Milvus, lists the revisions since the previous synchronization
less `OVERLAP_SECONDS`, and reads the movies whose revision differs from the one held. The overlap
covers slow writes and clocks that differ. A deletion leaves no revision: the count reveals it, and
a comparison of all ids finds it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from search_service.index.query import Query
from search_service.index.vector_index import Hits, IndexedMovie, IndexSpec, Vectors
from search_service.resident.movie_table import MovieTable
from search_service.resident.table_slices import run, slices
from search_service.store.milvus_client import Milvus
from search_service.store.stored_pages import stored_pages

log = logging.getLogger(__name__)

OVERLAP_SECONDS = 15.0
"""Longest duration of a write plus how far the writer's clock may be behind this process's."""
MAX_STALENESS_SECONDS = 2.0
"""Age of the last complete synchronization from which on a replica counts as behind."""

_PAGE_IDS = 1000
"""Revisions in a page."""
_MAX_ID = 2**63 - 1


class Replica:
    """A copy of one index. It belongs to one event loop; long computations run in a thread."""

    def __init__(
        self,
        spec: IndexSpec,
        milvus: Milvus,
        *,
        limit: int,
        shared: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty and behind; `synchronize` fills it.

        Args:
            spec: The index.
            milvus: The client that reads it.
            limit: Largest number of movies to hold.
            shared: Whether other processes can write to this Milvus.
            clock: Monotonic clock, in seconds.
        """
        self.spec = spec
        self.inconsistency: str | None = None
        """How Milvus contradicts itself, so that no copy can equal it. None: it does not."""
        self.over_limit: str | None = None
        """Why the index is not held: it has more movies than the limit. None: it has not."""
        self._milvus = milvus
        self._limit = limit
        self._shared = shared
        self._clock = clock
        self._table = MovieTable(spec)
        self._revisions: dict[int, int] = {}  # by movie id
        # Every write with an earlier revision is in the table; 0: nothing has been read yet.
        self._complete_until = 0
        # When the last synchronization that made the replica equal to Milvus began, in seconds.
        self._synchronized_at = -math.inf
        self._invalidations = 0
        # Ids that this process wrote or deleted since the current synchronization began; what the
        # synchronization reads about them may be older.
        self._written_here: set[int] = set()
        self._table_lock = asyncio.Lock()  # MovieTable is not thread-safe

    @property
    def is_behind(self) -> bool:
        """Whether the replica may lack writes that Milvus has.

        A synchronization that makes it equal to Milvus holds for `MAX_STALENESS_SECONDS` from its
        start where other processes can write, else until `invalidate`.
        """
        if self.inconsistency is not None:
            return True
        age = self._clock() - self._synchronized_at
        return age >= (MAX_STALENESS_SECONDS if self._shared else math.inf)

    @property
    def usable(self) -> bool:
        """Whether the replica may answer: it holds the index and is not behind."""
        return self.over_limit is None and not self.is_behind

    async def search(self, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        """Find the movies with the largest inner product for each row; see VectorIndex.

        It works in slices of rows. After each, the event loop and whoever waits for the table have
        their turn, and a cancelled search ends.
        """
        table = self._table  # a table that is replaced meanwhile changes no more
        hits: list[Hits] = []
        for part in slices(table, queries):
            rows = Vectors(vectors.values[part], vectors.model_version)
            async with self._table_lock:
                hits += await run(table, partial(table.search, rows, queries[part]))
            if part.stop - part.start < len(queries):
                await asyncio.sleep(0)
        return hits

    async def get(self, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """Return the movies with these ids that the replica holds, by id."""
        async with self._table_lock:
            return self._table.get(movie_ids)

    async def vectors(self, movie_ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of the movies with these ids that the replica holds, by id."""
        async with self._table_lock:
            return self._table.vectors(movie_ids)

    async def upserted(
        self, movies: Sequence[IndexedMovie], vectors: Vectors, revision: int
    ) -> None:
        """Apply an upsert that this process has just made in Milvus.

        Args:
            movies: The movies written.
            vectors: One row for each movie.
            revision: The revision that the upsert gave all of them.
        """
        self._written_here.update(movie.movie_id for movie in movies)
        async with self._table_lock:
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
        """Apply a deletion that this process has just made in Milvus."""
        self._written_here.update(movie_ids)
        async with self._table_lock:
            self._delete(movie_ids)

    def invalidate(self) -> None:
        """Be behind until the next synchronization: a write failed but may have taken effect."""
        self._invalidations += 1
        self._synchronized_at = -math.inf

    async def synchronize(self) -> None:
        """Apply what other processes wrote and deleted.

        Raises:
            StoreUnavailableError: Milvus does not answer.
            IndexNotFoundError: The index was deleted.
        """
        if self.usable and not self._shared:
            return
        started, invalidations = self._clock(), self._invalidations
        complete_until = time.time_ns() - round(OVERLAP_SECONDS * 1e9)
        self._written_here.clear()
        # This read waits for every earlier write; all later reads see as much.
        count = await self._milvus.count(self.spec.name)
        if count > self._limit:
            await self._give_up_over_limit(count)
            return
        self.over_limit = None
        async with self._table_lock:
            if not self._revisions:
                self._table = MovieTable(self.spec, capacity=count + count // 8)
        if self._complete_until:
            await self._apply_revisions(self._complete_until)
        if not self._complete_until or len(self._revisions) != count:
            await self._apply_revisions(0)
            if await self._count_differs_from(count):
                self._report_inconsistency(count)
                return
        self.inconsistency = None
        self._complete_until = complete_until
        if invalidations == self._invalidations:
            self._synchronized_at = started

    async def _count_differs_from(self, count: int) -> bool:
        """Return whether the replica's size differs from Milvus's count while nobody writes."""
        if len(self._revisions) == count or self._written_here:
            return False
        return await self._milvus.count(self.spec.name) == count and not self._written_here

    async def _apply_revisions(self, since: int) -> None:
        """Read the movies whose revision differs from the one held, and drop deleted movies.

        Args:
            since: Earliest revision to list. 0: all, which also finds the deleted movies.
        """
        async with self._table_lock:
            held = self._table.ids()[: 0 if since else None]
        after = 0
        while after < _MAX_ID:
            page = await self._milvus.revisions(self.spec.name, since, after, _PAGE_IDS)
            last = max(page) if len(page) == _PAGE_IDS else _MAX_ID
            await self._fetch([i for i, now in page.items() if self._revisions.get(i) != now])
            in_range = held[(held > after) & (held <= last)].tolist()
            async with self._table_lock:
                self._delete([i for i in in_range if i not in page and i not in self._written_here])
            after = last

    async def _fetch(self, movie_ids: Sequence[int]) -> None:
        async for stored in stored_pages(self._milvus, self.spec, movie_ids):
            async with self._table_lock:
                current = [one for one in stored if one.movie.movie_id not in self._written_here]
                if current:
                    await self._upsert(
                        [one.movie for one in current],
                        np.stack([one.vector for one in current]),
                        [one.revision for one in current],
                    )

    async def _upsert(
        self, movies: Sequence[IndexedMovie], values: NDArray[np.float32], revisions: Sequence[int]
    ) -> None:
        """Write to the table, whose lock the caller holds."""
        table = self._table

        def upsert() -> None:
            table.upsert(movies, Vectors(values, self.spec.model_version))
            ids = (movie.movie_id for movie in movies)
            # In the same step: a movie without a revision would outlive its deletion in Milvus.
            self._revisions.update(zip(ids, revisions, strict=True))

        await run(table, upsert)

    def _delete(self, movie_ids: Sequence[int]) -> None:
        """Delete from the table, whose lock the caller holds."""
        self._table.delete(movie_ids)
        for movie_id in movie_ids:
            self._revisions.pop(movie_id, None)

    async def _give_up_over_limit(self, count: int) -> None:
        self.over_limit = (
            f"index {self.spec.name!r} holds {count} movies, "
            f"more than the {self._limit} of resident_limit"
        )
        async with self._table_lock:
            self._table = MovieTable(self.spec)
            self._revisions.clear()
        self._complete_until = 0

    def _report_inconsistency(self, count: int) -> None:
        inconsistency = (
            f"Milvus counts {count} movies in index {self.spec.name!r} "
            f"but lists {len(self._revisions)}"
        )
        if inconsistency != self.inconsistency:
            log.warning("%s", inconsistency)
        self.inconsistency = inconsistency
