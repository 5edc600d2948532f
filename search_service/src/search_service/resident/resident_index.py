"""The VectorIndex that runs: the active index is answered from memory while it fits, exactly.

Milvus is the store, and answers whatever the replica cannot: other indexes than the active one,
one that is over the limit or is still being read, and all of them while the replica may be behind.
An answer is of one or the other.

Consistency. A write returns when every later read of this process sees it. Another process on the
same Milvus sees it, its title, year and genres included, `FRESH_SECONDS` later at most: a replica
that has not been compared with the store for so long is not asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Literal, Self

from rpckit.errors import NotReadyError, ServiceError
from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import NoActiveIndexError
from search_service.index.vector_index import (
    Activation,
    Hits,
    IndexedMovie,
    IndexInfo,
    IndexSpec,
    Query,
    Vectors,
)
from search_service.resident.replica import Replica
from search_service.store.active_index_watcher import ActiveIndexObserver, ActiveIndexWatcher
from search_service.store.milvus_client import Milvus
from search_service.store.milvus_index import MilvusIndex

Engine = Literal["auto", "milvus", "resident"]
"""What answers searches of the active index."""

log = logging.getLogger(__name__)


class ResidentIndex(ActiveIndexObserver):
    """Implements search_service.index.vector_index.VectorIndex."""

    def __init__(
        self,
        store: MilvusIndex,
        watcher: ActiveIndexWatcher,
        milvus: Milvus,
        *,
        limit: int,
        required: bool,
        shared: bool,
        telemetry: Telemetry,
    ) -> None:
        """Answer from memory what can be; `watcher` must be running before anything is asked.

        Args:
            store: Where everything is.
            watcher: Tells when the replica is to be compared with the store.
            milvus: The store's Milvus.
            limit: Most movies of an index that is held in memory.
            required: Whether the service is ready only if the active index can be held in memory.
            shared: Whether other processes can write to the store.
            telemetry: Where searches are timed.
        """
        self._store = store
        self._milvus = milvus
        self._limit = limit
        self._required = required
        self._shared = shared
        self._stage = telemetry.stage("resident_search")
        self._replica: Replica | None = None
        self._warm = False  # whether a replica has ever been usable
        self._synchronizing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None  # of the latest look
        watcher.subscribe(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """End what is under way in the background when the context is left."""
        try:
            yield self
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    def look_ended(self) -> None:
        """Compare the replica with the store, unless that is under way: it may take long."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._synchronize(), name="synchronize the replica")

    async def resolve(self, name: str) -> IndexSpec:
        """See VectorIndex."""
        return await self._store.resolve(name)

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """See VectorIndex."""
        replica = self._usable(index)
        if replica is None:
            return await self._store.search(index, vectors, queries)
        self._store.refuse_without_store()
        with self._stage.measure():
            return await replica.search(vectors, queries)

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """See VectorIndex."""
        replica = self._usable(index)
        if replica is None:
            return await self._store.get(index, movie_ids)
        self._store.refuse_without_store()
        return replica.get(movie_ids)

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """See VectorIndex."""
        return await self._store.list_movies(index, after, limit)

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        return await self._store.create(spec)

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> None:
        """See VectorIndex."""
        with self._writing(index):
            revision = await self._store.write(index, movies, vectors)
            if replica := self._replica_of(index):
                await replica.upserted(movies, vectors, revision)

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        with self._writing(index):
            await self._store.delete_movies(index, movie_ids)
            if replica := self._replica_of(index):
                await replica.deleted(movie_ids)

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """See VectorIndex. Returns when the index is in memory, unless it cannot be."""
        done = await self._store.activate(index, expected)
        await self._synchronize()
        return Activation(self._engine_of(done.index), done.previous)

    async def list_indexes(self) -> list[IndexInfo]:
        """See VectorIndex."""
        return [self._engine_of(info) for info in await self._store.list_indexes()]

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        return self._engine_of(await self._store.describe(index))

    async def drop(self, index: IndexSpec) -> None:
        """See VectorIndex."""
        await self._store.drop(index)

    async def check_store(self) -> None:
        """See VectorIndex."""
        await self._store.check_store()

    async def check_active(self) -> None:
        """See VectorIndex. What the replica holds must also be what the store says it has."""
        await self._store.check_active()
        replica = self._replica
        if replica is not None and replica.problem:
            raise NotReadyError(replica.problem)
        if self._required:
            if replica is not None and replica.over_limit:
                raise NotReadyError(f"{replica.over_limit}: raise it, or let engine be auto")
            if not self._warm:
                raise NotReadyError("the active index is being read into memory")

    def _replica_of(self, index: IndexSpec) -> Replica | None:
        replica = self._replica
        return replica if replica is not None and replica.spec == index else None

    def _usable(self, index: IndexSpec) -> Replica | None:
        replica = self._replica_of(index)
        return replica if replica is not None and replica.usable else None

    def _engine_of(self, info: IndexInfo) -> IndexInfo:
        return replace(info, engine="resident exact") if self._usable(info.spec) else info

    @contextmanager
    def _writing(self, index: IndexSpec) -> Iterator[None]:
        """Have the replica compared with the store after a write that may have happened or not."""
        try:
            yield
        except BaseException:
            if replica := self._replica_of(index):
                replica.mark_uncertain()
            raise

    async def _synchronize(self) -> None:
        """Have the replica of the active index, as it is in the store now."""
        async with self._synchronizing:
            try:
                active = await self._store.resolve("")
                replica = self._replica_of(active)
                if replica is None:
                    # The one before goes first: Milvus answers until the new one is complete.
                    replica = self._replica = Replica(
                        active, self._milvus, limit=self._limit, shared=self._shared
                    )
                await replica.synchronize()
                self._warm |= replica.usable
            except NoActiveIndexError:
                self._replica = None
            except ServiceError as error:
                log.info("the active index cannot be compared with the store: %s", error.message)
            except Exception:  # whatever pymilvus makes of a Milvus that is ill
                log.exception("the active index cannot be compared with the store")
