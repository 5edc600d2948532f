"""Users' interactions: recorded, returned and deleted, and what each user has seen.

Consistency: every search that this process begins after `record` or `delete` returned knows of it;
one of another process on the same Milvus does so at most `seen_replica.MAX_STALENESS_SECONDS`
later. While the copy in memory is not usable (it is being read, is behind, or would be over its
limit), Milvus is asked for the users of each batch, which is as exact and takes longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rpckit.errors import ServiceError
from rpckit.finishing import finish
from search_service.index.interactions import Interaction
from search_service.interactions.seen_movies import SeenMovies
from search_service.interactions.seen_replica import SeenReplica
from search_service.store.active_index_watcher import ActiveIndexObserver, ActiveIndexWatcher
from search_service.store.interaction_schema import bucket
from search_service.store.milvus_interactions import MilvusInteractions

log = logging.getLogger(__name__)


class Interactions(ActiveIndexObserver):
    """The interactions of all users of a suite."""

    def __init__(
        self,
        milvus: MilvusInteractions,
        watcher: ActiveIndexWatcher,
        *,
        limit: int,
        most_per_user: int,
        shared: bool,
    ) -> None:
        """Observe `watcher`.

        Args:
            milvus: The client that reads and writes the interactions.
            watcher: The start of each of its polls starts a synchronization of the copy in memory.
            limit: Largest number of interactions to hold in memory.
            most_per_user: Number of interactions, the newest, that are kept of each user.
            shared: Whether other processes can write to this Milvus.
        """
        self._milvus = milvus
        self._watcher = watcher
        self._most_per_user = most_per_user
        self._replica = SeenReplica(milvus, limit=limit, shared=shared)
        self._write_lock = asyncio.Lock()  # Milvus Lite fails if writes overlap
        self._synchronization: asyncio.Task[None] | None = None  # since the latest poll
        self._problem = ""  # why the latest synchronization failed; empty if it did not
        watcher.subscribe(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Cancel the synchronization in progress when the context is left."""
        try:
            yield self
        finally:
            if self._synchronization is not None:
                self._synchronization.cancel()
                await asyncio.gather(self._synchronization, return_exceptions=True)

    def poll_started(self) -> None:
        """Synchronize the copy in the background, unless that is already in progress."""
        if self._synchronization is None or self._synchronization.done():
            self._synchronization = asyncio.create_task(
                self._synchronize(), name="synchronize what users have seen"
            )

    async def record(self, interactions: Sequence[Interaction]) -> None:
        """Record interactions, all or none, replacing those with the same user and key.

        Raises:
            StoreUnavailableError: Milvus does not answer; they may have been recorded.
            OtherSuiteError: The interactions in this database are another suite's.
        """
        by_user: dict[int, dict[object, Interaction]] = defaultdict(dict)
        for interaction in interactions:
            by_user[interaction.user_id][interaction.key] = interaction

        async def write() -> None:
            unique = [one for own in by_user.values() for one in own.values()]
            await self._milvus.upsert(unique, set(map(bucket, by_user)))
            for user_id, own in by_user.items():
                self._replica.recorded(user_id, [one.key.movie_id for one in own.values()])
            await self._trim(by_user)

        await self._write(by_user, write)

    async def of_user(self, user_id: int) -> list[Interaction]:
        """Return all interactions of a user, in their order.

        Raises:
            StoreUnavailableError: Milvus does not answer.
            OtherSuiteError: The interactions in this database are another suite's.
        """
        self._watcher.require_store()
        return await self._milvus.of_user(user_id) if await self._milvus.exists() else []

    async def delete(self, user_id: int) -> None:
        """Delete all interactions of a user.

        Raises:
            StoreUnavailableError: Milvus does not answer; some may have been deleted.
            OtherSuiteError: The interactions in this database are another suite's.
        """

        async def write() -> None:
            if await self._milvus.exists():
                while found := await self._milvus.of_user(user_id):
                    await self._milvus.delete(found)
                await self._milvus.upsert([], [bucket(user_id)])
            self._replica.deleted(user_id)

        await self._write([user_id], write)

    async def seen(self, user_ids: Collection[int]) -> dict[int, NDArray[np.int64]]:
        """Return the ids of the movies that each user has seen, ascending, each once.

        Raises:
            StoreUnavailableError: Milvus had to be asked, and does not answer.
            OtherSuiteError: The interactions in this database are another suite's.
        """
        known = self._replica if self._replica.usable else await self._read(user_ids)
        return {user_id: known.of(user_id) for user_id in user_ids}

    async def _read(self, user_ids: Collection[int]) -> SeenMovies:
        self._watcher.require_store()
        found = SeenMovies()
        if user_ids and await self._milvus.exists():
            found.replace((), *await self._milvus.seen_by(user_ids))
        return found

    async def _trim(self, user_ids: Collection[int]) -> None:
        """Delete the oldest interactions of users who have a tenth more than are kept."""
        known = self._replica if self._replica.usable else await self._read(user_ids)
        most = self._most_per_user + self._most_per_user // 10
        for user_id in user_ids:
            if known.count(user_id) <= most:
                continue
            oldest = (await self._milvus.of_user(user_id))[: -self._most_per_user]
            if oldest:
                await self._milvus.delete(oldest)
                await self._milvus.upsert([], [bucket(user_id)])
            self._replica.invalidate(user_id)  # it counted an interaction twice, or has too many

    async def _write(self, user_ids: Iterable[int], write: Callable[[], Awaitable[None]]) -> None:
        """Run one write at a time, and to its end even if the caller is cancelled."""
        self._watcher.require_store()
        async with self._write_lock:
            try:
                await finish(write())
            except BaseException:
                for user_id in user_ids:
                    self._replica.invalidate(user_id)
                raise

    async def _synchronize(self) -> None:
        problem = ""
        try:
            await self._replica.synchronize()
            if self._replica.over_limit:
                problem = "there are more interactions than seen_limit; Milvus is asked each time"
        except ServiceError as error:
            problem = f"what users have seen cannot be read: {error.message}"
        except Exception as error:  # whatever pymilvus raises for a failing Milvus
            problem = f"what users have seen cannot be read: {type(error).__name__}"
        if problem and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
