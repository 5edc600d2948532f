"""An in-memory copy of one index, kept in sync with Milvus.

Every upsert gives its movies a new, random revision, so two copies of a movie with the same one are
equal. Whenever a check is due (search_service.store.editions), a synchronization counts the movies
in Milvus, lists the revisions of all, reads the movies whose revision differs from the one held,
and drops those that are not listed. So the replica equals Milvus, whoever wrote and in whatever
order. Listing 200,000 revisions takes a Milvus server 0.28 s, and this process 14 ms of CPU.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from search_service.index.vector_index import Hits, IndexedMovie, IndexSpec, Query, Vectors
from search_service.resident.replica_table import ReplicaTable
from search_service.store.editions import CheckSchedule
from search_service.store.milvus_client import Milvus

log = logging.getLogger(__name__)

MAX_STALENESS_SECONDS = 2.0
"""Age of the last complete synchronization from which on a replica counts as behind."""

_PAGE_IDS = 10_000
"""Revisions in a page: comparing them blocks the event loop for about 2 ms."""
_PAGE_FLOATS = 1 << 15
"""Vector components in a page of movies: unpacking them takes pymilvus about 3 ms."""

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
        self._table = ReplicaTable(spec)
        # Replaced when something happens after which a comparison that has begun is not enough.
        self._checks = CheckSchedule()
        # When the last synchronization that made the replica equal to Milvus began, in seconds.
        self._synchronized_at = -math.inf
        self._invalidations = 0
        # Ids that this process wrote or deleted since the current comparison began; what the
        # comparison reads about them may be older.
        self._written_here: set[int] = set()

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
        """Find the movies with the largest inner product for each row; see ReplicaTable."""
        return await self._table.search(vectors, queries)

    async def get(self, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """Return the movies with these ids that the replica holds, by id."""
        return await self._table.get(movie_ids)

    async def upserted(
        self, movies: Sequence[IndexedMovie], vectors: Vectors, revision: int
    ) -> None:
        """Apply an upsert that this process has just made in Milvus, after all earlier ones.

        Args:
            movies: The movies written.
            vectors: One row for each movie.
            revision: The revision that the upsert gave all of them.
        """
        self._note_write(movie.movie_id for movie in movies)
        await self._table.upsert(movies, vectors, [revision] * len(movies))

    async def deleted(self, movie_ids: Sequence[int]) -> None:
        """Apply a deletion that this process has just made in Milvus, after all earlier writes."""
        self._note_write(movie_ids)
        await self._table.delete(movie_ids)

    def invalidate(self) -> None:
        """Be behind until the next synchronization: a write failed but may have taken effect."""
        self._invalidations += 1
        self._synchronized_at = -math.inf
        self._checks = CheckSchedule()

    async def synchronize(self) -> None:
        """Apply what other processes wrote and deleted.

        Raises:
            StoreUnavailableError: Milvus does not answer.
            IndexNotFoundError: The index was deleted.
        """
        if self.usable and not self._shared:
            return
        started, invalidations, checks = self._clock(), self._invalidations, self._checks
        _, edition = await self._milvus.spec_and_edition(self.spec.name)
        if checks.is_due(edition, started):
            if not await self._compare():
                return
            checks.checked(edition, started)
        if invalidations == self._invalidations:
            self._synchronized_at = started

    def _note_write(self, movie_ids: Iterable[int]) -> None:
        self._written_here.update(movie_ids)
        # Another process may have replaced these movies just before they get into the table.
        self._checks = CheckSchedule()

    async def _compare(self) -> bool:
        """Make the table equal to Milvus, if the limit allows; return whether that is so."""
        self._written_here.clear()
        # This read waits for every earlier write; all later reads see as much.
        count = await self._milvus.count(self.spec.name)
        if count > self._limit:
            self._give_up_over_limit(count)
            return True
        self.over_limit = None
        if not len(self._table):
            await self._table.reserve(count + count // 8)
        await self._apply_differences()
        if await self._count_differs_from(count):
            self._report_inconsistency(count)
            return False
        self.inconsistency = None
        return True

    async def _count_differs_from(self, count: int) -> bool:
        """Return whether the replica's size differs from Milvus's count while nobody writes."""
        if len(self._table) == count or self._written_here:
            return False
        return await self._milvus.count(self.spec.name) == count and not self._written_here

    async def _apply_differences(self) -> None:
        """Read the movies whose revision differs from the one held, and drop deleted movies."""
        held = await self._table.ids()
        after = 0
        while after < _MAX_ID:
            ids, revisions = await self._milvus.revisions(self.spec.name, after, _PAGE_IDS)
            last = int(ids[-1]) if len(ids) == _PAGE_IDS else _MAX_ID
            await self._fetch(self._table.differing(ids, revisions))
            in_range = held[(held > after) & (held <= last)]
            gone = np.setdiff1d(in_range, ids, assume_unique=True).tolist()
            await self._table.delete([i for i in gone if i not in self._written_here])
            after = last

    async def _fetch(self, movie_ids: Sequence[int]) -> None:
        step = max(1, _PAGE_FLOATS // self.spec.dimension)
        for start in range(0, len(movie_ids), step):
            stored = await self._milvus.stored_movies(self.spec, movie_ids[start : start + step])
            await asyncio.sleep(0)  # unpacking them blocked the loop, and so does storing them
            # The table's lock is fair, so what this process writes from here on comes after.
            current = [one for one in stored if one.movie.movie_id not in self._written_here]
            if current:
                values = np.stack([one.vector for one in current])
                await self._table.upsert(
                    [one.movie for one in current],
                    Vectors(values, self.spec.model_version),
                    [one.revision for one in current],
                )

    def _give_up_over_limit(self, count: int) -> None:
        self.over_limit = (
            f"index {self.spec.name!r} holds {count} movies, "
            f"more than the {self._limit} of resident_limit"
        )
        self._table = ReplicaTable(self.spec)

    def _report_inconsistency(self, count: int) -> None:
        inconsistency = (
            f"Milvus counts {count} movies in index {self.spec.name!r} but lists {len(self._table)}"
        )
        if inconsistency != self.inconsistency:
            log.warning("%s", inconsistency)
        self.inconsistency = inconsistency
