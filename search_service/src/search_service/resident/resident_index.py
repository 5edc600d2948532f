"""The VectorIndex that answers the active index from memory, exactly, while it fits.

It reads from a replica of the active index and falls back to Milvus where the replica is not
usable: for other indexes, for one over the limit or still being read, and while the replica is
behind (`Replica.is_behind`). One answer never mixes the two. Writes go to Milvus first, then into
the replica.

Consistency: every read that this process begins after a write returns sees the write, title, year
and genres included. Another process on the same Milvus sees it at most
`replica.MAX_STALENESS_SECONDS` later: an older replica counts as behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

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

log = logging.getLogger(__name__)


class ResidentIndex(ActiveIndexObserver):
    """Implements search_service.index.vector_index.VectorIndex."""

    def __init__(
        self,
        milvus_index: MilvusIndex,
        watcher: ActiveIndexWatcher,
        milvus: Milvus,
        *,
        limit: int,
        required: bool,
        shared: bool,
        telemetry: Telemetry,
    ) -> None:
        """Observe `watcher`, which must be running before the first call.

        Args:
            milvus_index: Takes all writes, and the reads that the replica cannot answer.
            watcher: Each of its polls starts a synchronization of the replica.
            milvus: The client that the replica reads with.
            limit: Largest number of movies to hold in memory.
            required: Whether `check_active` demands that the active index is held in memory.
            shared: Whether other processes can write to this Milvus.
            telemetry: Records search times.
        """
        self._milvus_index = milvus_index
        self._milvus = milvus
        self._limit = limit
        self._required = required
        self._shared = shared
        self._stage = telemetry.stage("resident_search")
        self._replica: Replica | None = None
        self._warmed_up = False  # whether any replica has been usable yet
        self._write_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._synchronization_lock = asyncio.Lock()
        self._outdated = asyncio.Event()  # a synchronization that has begun is not enough
        watcher.subscribe(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Synchronize the replica with every poll, until the context is left."""
        task = asyncio.create_task(self._synchronize_forever(), name="synchronize the replica")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def poll_started(self) -> None:
        """Synchronize the replica in the background, while the watcher reads what it needs."""
        self._outdated.set()

    def active_index_changed(self, index: IndexSpec, movies: int) -> None:  # noqa: ARG002
        """Begin with another replica."""
        self._outdated.set()

    async def resolve(self, name: str) -> IndexSpec:
        """See VectorIndex."""
        return await self._milvus_index.resolve(name)

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """See VectorIndex."""
        replica = self._usable(index)
        if replica is None:
            return await self._milvus_index.search(index, vectors, queries)
        self._milvus_index.require_store()
        with self._stage.measure():
            return await replica.search(vectors, queries)

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """See VectorIndex."""
        replica = self._usable(index)
        if replica is None:
            return await self._milvus_index.get(index, movie_ids)
        self._milvus_index.require_store()
        return await replica.get(movie_ids)

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """See VectorIndex."""
        return await self._milvus_index.list_movies(index, after, limit)

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        return await self._milvus_index.create(spec)

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> None:
        """See VectorIndex."""
        async with self._writing(index):
            revision = await self._milvus_index.write(index, movies, vectors)
            if replica := self._replica_of(index):
                await replica.upserted(movies, vectors, revision)

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        async with self._writing(index):
            await self._milvus_index.delete_movies(index, movie_ids)
            if replica := self._replica_of(index):
                await replica.deleted(movie_ids)

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """See VectorIndex. Return once the index is in memory, if it can be."""
        activation = await self._milvus_index.activate(index, expected)
        await self._synchronize()
        return Activation(self._with_engine(activation.index), activation.previous)

    async def list_indexes(self) -> list[IndexInfo]:
        """See VectorIndex."""
        return [self._with_engine(info) for info in await self._milvus_index.list_indexes()]

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        return self._with_engine(await self._milvus_index.describe(index))

    async def drop(self, index: IndexSpec) -> None:
        """See VectorIndex."""
        await self._milvus_index.drop(index)

    async def check_store(self) -> None:
        """See VectorIndex."""
        await self._milvus_index.check_store()

    async def check_active(self) -> None:
        """See VectorIndex. Fail also if Milvus contradicts itself about the active index."""
        await self._milvus_index.check_active()
        replica = self._replica
        if replica is not None and replica.inconsistency:
            raise NotReadyError(replica.inconsistency)
        if self._required:
            if replica is not None and replica.over_limit:
                raise NotReadyError(f"{replica.over_limit}: raise it, or set engine to auto")
            if not self._warmed_up:
                raise NotReadyError("the active index is being read into memory")

    def _replica_of(self, index: IndexSpec) -> Replica | None:
        replica = self._replica
        return replica if replica is not None and replica.spec == index else None

    def _usable(self, index: IndexSpec) -> Replica | None:
        replica = self._replica_of(index)
        return replica if replica is not None and replica.usable else None

    def _with_engine(self, info: IndexInfo) -> IndexInfo:
        return replace(info, engine="resident exact") if self._usable(info.spec) else info

    @asynccontextmanager
    async def _writing(self, index: IndexSpec) -> AsyncIterator[None]:
        """Run one write at a time, so that the replica gets them in the order of the store.

        If a write fails, it may have taken effect, so the replica is invalidated.
        """
        async with self._write_locks[index.name]:
            try:
                yield
            except BaseException:
                if replica := self._replica_of(index):
                    replica.invalidate()
                raise

    async def _synchronize_forever(self) -> None:
        while True:
            await self._outdated.wait()
            self._outdated.clear()
            await self._synchronize()

    async def _synchronize(self) -> None:
        """Bring the replica of the active index in sync with Milvus, creating it if need be."""
        async with self._synchronization_lock:
            try:
                active = await self._milvus_index.resolve("")
                replica = self._replica_of(active)
                if replica is None or not replica.spec.is_same(active):
                    # Milvus answers until the new replica is complete.
                    replica = self._replica = Replica(
                        active, self._milvus, limit=self._limit, shared=self._shared
                    )
                await replica.synchronize()
                self._warmed_up |= replica.usable
            except NoActiveIndexError:
                self._replica = None
            except ServiceError as error:
                log.info("the replica cannot be synchronized: %s", error.message)
            except Exception:  # whatever pymilvus raises for a failing Milvus
                log.exception("the replica cannot be synchronized")
