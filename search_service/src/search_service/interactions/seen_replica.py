"""A copy in memory of what users have seen, kept in sync with Milvus.

At every poll the marks of all buckets are compared with those that are known, and buckets that have
another one are read (search_service.store.interaction_schema). What this process writes is applied
at once. The copy is equal to Milvus, whoever wrote and in whatever order.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_service.interactions.seen_movies import SeenMovies
from search_service.store.interaction_schema import BUCKETS, bucket
from search_service.store.milvus_interactions import MilvusInteractions

MAX_STALENESS_SECONDS = 2.0
"""Age of the last synchronization from which on the copy is not used."""

_PAGE = 50_000
"""Interactions to read at a time: comparing and storing them blocks the event loop for 10 ms."""
_UNKNOWN = -1
"""Revision of a bucket that has to be read again; marks have others."""
_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64))


class _Change(NamedTuple):
    """What this process wrote while a synchronization was under way."""

    bucket: int
    user_id: int
    movie_ids: Collection[int] | None
    """Movies that were added. None: the user's data was deleted."""


class SeenReplica:
    """A copy of what all users have seen. It belongs to one event loop."""

    def __init__(
        self,
        milvus: MilvusInteractions,
        *,
        limit: int,
        shared: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty and not usable; `synchronize` fills it.

        Args:
            milvus: The client that reads the interactions.
            limit: Largest number of interactions to hold.
            shared: Whether other processes can write to this Milvus.
            clock: Monotonic clock, in seconds.
        """
        self._milvus = milvus
        self._limit = limit
        self._shared = shared
        self._clock = clock
        self._over_limit = False
        self._synchronized_at = -math.inf  # start of the last complete one, in seconds
        self._changes: list[_Change] | None = None  # since the present synchronization began
        self._clear()

    @property
    def usable(self) -> bool:
        """Whether the copy may answer: it holds everything and is not behind."""
        age = self._clock() - self._synchronized_at
        return not self._over_limit and age < (MAX_STALENESS_SECONDS if self._shared else math.inf)

    @property
    def over_limit(self) -> bool:
        """Whether there are more interactions than the limit, so that none are held."""
        return self._over_limit

    def of(self, user_id: int) -> NDArray[np.int64]:
        """Return the ids of the movies that a user has seen, ascending, each once."""
        return self._seen.of(user_id)

    def count(self, user_id: int) -> int:
        """Return the number of a user's interactions, or more."""
        return self._seen.count(user_id)

    def recorded(self, user_id: int, movie_ids: Collection[int]) -> None:
        """Apply interactions of a user that this process has just written."""
        self._apply(_Change(bucket(user_id), user_id, movie_ids))

    def deleted(self, user_id: int) -> None:
        """Apply a deletion of a user's data that this process has just made."""
        self._apply(_Change(bucket(user_id), user_id, None))

    def invalidate(self, user_id: int) -> None:
        """Read a user's bucket again: a write may have taken effect, or some data was deleted."""
        self.recorded(user_id, ())
        self._revisions[bucket(user_id)] = _UNKNOWN

    async def synchronize(self) -> None:
        """Apply what other processes wrote and deleted.

        Raises:
            StoreUnavailableError: Milvus does not answer.
            OtherSuiteError: The interactions are another suite's.
        """
        if self.usable and not self._shared and not (self._revisions == _UNKNOWN).any():
            return
        started, self._changes = self._clock(), []
        try:
            if await self._compare():
                self._synchronized_at = started
        finally:
            self._changes = None

    def _apply(self, change: _Change) -> None:
        if self._changes is not None:
            self._changes.append(change)
        if not self._over_limit:
            self._change(change)
        if self._shared:
            # Another process may have written, and have been read, between our write and now.
            self._revisions[change.bucket] = _UNKNOWN

    def _change(self, change: _Change) -> None:
        if change.movie_ids is None:
            self._seen.remove(change.user_id)
        elif change.movie_ids:
            self._seen.add(change.user_id, change.movie_ids)

    async def _compare(self) -> bool:
        """Make the copy equal to Milvus, if the limit allows; return whether that is so."""
        if not await self._milvus.exists():
            self._store(np.flatnonzero(self._revisions), np.zeros(BUCKETS, np.int64), *_NOTHING)
            return True
        rows = len(self._seen)
        if self._over_limit or not rows:
            rows = await self._milvus.count()
        self._over_limit = rows > self._limit
        if self._over_limit:
            self._clear()
            return False
        revisions = await self._milvus.revisions()
        differing = np.flatnonzero(revisions != self._revisions)
        step = max(1, _PAGE * BUCKETS // max(rows, 1))
        for start in range(0, len(differing), step):
            buckets = differing[start : start + step]
            found = await self._milvus.seen_in_buckets(buckets.tolist())
            self._store(buckets, revisions, *found)
            await asyncio.sleep(0)
        return True

    def _store(
        self,
        buckets: NDArray[np.int64],
        revisions: NDArray[np.int64],
        user_ids: NDArray[np.int64],
        movie_ids: NDArray[np.int64],
    ) -> None:
        """Replace the content of some buckets by what Milvus holds."""
        self._seen.replace(buckets.tolist(), user_ids, movie_ids)
        self._revisions[buckets] = revisions[buckets]
        # What this process wrote meanwhile may be missing in what was read. It may also be older
        # than another process's write that was read, so these buckets are read again.
        replaced = frozenset(buckets.tolist())
        for change in self._changes or ():
            if change.bucket in replaced:
                self._change(change)
                self._revisions[change.bucket] = _UNKNOWN

    def _clear(self) -> None:
        self._seen = SeenMovies()
        self._revisions = np.zeros(BUCKETS, np.int64)
