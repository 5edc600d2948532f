"""Polling of Milvus for the active index and its writes, in the background.

Requests never ask Milvus which index is active; the watcher knows it before they come. It is the
only loop that follows the alias of the active index; whatever depends on it is an
`ActiveIndexObserver`.

When a poll finds that the active index may have been written to (search_service.store.editions), it
counts the movies with a read that waits for all earlier writes, and only then notifies the
observers: what they read afterwards includes the write.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

from rpckit.errors import NotReadyError, ServiceError
from search_service.index.errors import (
    IndexNotFoundError,
    NoActiveIndexError,
    OtherSuiteError,
    StoreUnavailableError,
)
from search_service.index.vector_index import METRIC, IndexSpec
from search_service.store.editions import CheckSchedule
from search_service.store.milvus_client import Milvus

log = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 0.4
"""Pause between two polls."""
ANSWER_TIMEOUT_SECONDS = 1.4
"""Time without an answer after which a remote Milvus counts as unreachable; with the interval of
the health service (rpckit.serving.health) on top, its status changes within 2 s."""

_ALIAS = "_marquee_active"  # no index can have this name: theirs start with a letter


class ActiveIndexObserver:
    """Base class of observers; override the events of interest. Methods must return quickly."""

    def poll_started(self) -> None:
        """Handle the start of a poll."""

    def active_index_changed(self, index: IndexSpec, movies: int) -> None:
        """Handle the activation of another index, which holds this number of movies."""

    def active_index_written(self, index: IndexSpec) -> None:
        """Handle a write to the active index that some process may have made."""


class _ActiveIndex(NamedTuple):
    """What a poll found."""

    spec: IndexSpec | None = None
    edition: str = ""
    movies: int = 0
    """Counted only if the spec is new or a check of the index was due."""
    error: str | None = None
    """Why the active index cannot be searched. None: it can."""


class ActiveIndexWatcher:
    """Watches one Milvus, reachable or not."""

    def __init__(self, milvus: Milvus, *, answer_timeout: float) -> None:
        """Start without knowledge; `running` polls.

        Args:
            milvus: The client to poll with.
            answer_timeout: Seconds without an answer after which Milvus counts as unreachable.
        """
        self._milvus = milvus
        self._answer_timeout = answer_timeout
        self._observers: list[ActiveIndexObserver] = []
        self._active: IndexSpec | None = None
        self._checks = CheckSchedule()  # of the active index
        self._edition_read_at = -math.inf  # start of the last poll that read the edition, seconds
        self._answered_at = -math.inf  # of the last answer, seconds
        self._store_error: str | None = "Milvus has not answered yet"
        self._active_error: str | None = None

    def subscribe(self, observer: ActiveIndexObserver) -> None:
        """Notify an observer from the next poll on, after the observers that subscribed earlier."""
        self._observers.append(observer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Poll once, then keep polling until the context is left."""
        await self._poll()
        task = asyncio.create_task(self._poll_forever(), name="watch the active index")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def check_store(self) -> None:
        """Check that Milvus answers.

        Raises:
            NotReadyError: It does not.
        """
        if self._store_error:
            raise NotReadyError(self._store_error)
        if time.monotonic() - self._answered_at > self._answer_timeout:
            raise NotReadyError(f"Milvus has not answered for {self._answer_timeout} s")

    def check_active(self) -> None:
        """Check that Milvus answers and can search the active index.

        Raises:
            NotReadyError: Milvus does not answer, no index is active, or it cannot be searched.
        """
        self.check_store()
        if self._active_error:
            raise NotReadyError(self._active_error)

    def active(self) -> IndexSpec:
        """Return the active index.

        Raises:
            NoActiveIndexError: No index is active.
            StoreUnavailableError: It is unknown, because Milvus has not answered yet.
        """
        if self._active is None:
            self.require_store()
            raise NoActiveIndexError("no index is active")
        return self._active

    def is_active(self, index: IndexSpec) -> bool:
        """Return whether an index was the active one at the last poll."""
        return self._active is not None and self._active.name == index.name

    def notices_writes(self, index: IndexSpec) -> bool:
        """Return whether the next poll would notice a write of another process to an index."""
        recent = time.monotonic() - self._edition_read_at <= self._answer_timeout
        return recent and not self._store_error and not self._active_error and self.is_active(index)

    def require_store(self) -> None:
        """Fail at once, where a call would wait for a connection, if Milvus is unreachable.

        A Milvus that is merely slow passes.

        Raises:
            StoreUnavailableError: The last poll could not reach Milvus.
        """
        if self._store_error:
            raise StoreUnavailableError(self._store_error, retry_after=1.0)

    async def active_in_store(self) -> str:
        """Read the name of the active index from Milvus. Empty: none.

        Raises:
            OtherSuiteError: Another suite on this Milvus has an active index.
        """
        try:
            return (await self._milvus.spec(_ALIAS)).name
        except IndexNotFoundError:
            return ""

    async def activate(self, index: IndexSpec, movies: int) -> None:
        """Make an index the active one, for every process on this Milvus.

        Args:
            index: The index; it must be loaded.
            movies: Number of movies that it holds.
        """
        await self._milvus.set_alias(_ALIAS, index.name)
        self._active_error = None
        self._set_active(index, movies)

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            await self._poll()

    async def _poll(self) -> None:
        started, before = time.monotonic(), self._active
        for observer in self._observers:
            observer.poll_started()
        try:
            found = await self._read_active_index(started)
        except ServiceError as error:
            self._set_store_error(error.message)
        except Exception as error:  # whatever pymilvus raises for a failing Milvus
            self._set_store_error(f"{type(error).__name__} from Milvus: {error}")
        else:
            self._answered_at = time.monotonic()
            self._set_store_error(None)
            if self._active is before:  # else `activate` ran meanwhile and knows better
                self._active_error = found.error
                self._set_active(found.spec, found.movies)
                self._set_edition(found.edition, started)

    async def _read_active_index(self, now: float) -> _ActiveIndex:
        """Read the active index and its edition, and load its collection if it is not loaded."""
        try:
            spec, edition = await self._milvus.spec_and_edition(_ALIAS)
        except IndexNotFoundError:
            await self._milvus.collection_names()  # which fails if there is no such database
            return _ActiveIndex(error="no index is active")
        except OtherSuiteError as other:
            return _ActiveIndex(error=f"the active index is not ours: {other.message}")
        if spec.metric != METRIC:
            error = f"index {spec.name!r} has metric {spec.metric}, not {METRIC}"
            return _ActiveIndex(spec, error=error)
        if not await self._milvus.is_loaded(spec.name):
            await self._milvus.load(spec.name)
        if spec == self._active and not self._checks.is_due(edition, now):
            return _ActiveIndex(spec, edition)
        return _ActiveIndex(spec, edition, await self._milvus.count(spec.name))

    def _set_store_error(self, error: str | None) -> None:
        if error != self._store_error:
            if error:
                log.warning("Milvus cannot be reached: %s", error)
            else:
                log.info("Milvus can be reached")
        self._store_error = error

    def _set_active(self, active: IndexSpec | None, movies: int) -> None:
        unchanged = active.is_same(self._active) if active and self._active else active is None
        if not unchanged:
            log.info("active index: %s", active.name if active else "none")
            self._active = active
            self._checks = CheckSchedule()
            self._edition_read_at = -math.inf
            if active is not None:
                for observer in self._observers:
                    observer.active_index_changed(active, movies)

    def _set_edition(self, edition: str, read_at: float) -> None:
        if self._active is not None and self._checks.is_due(edition, read_at):
            for observer in self._observers:
                observer.active_index_written(self._active)
            self._checks.checked(edition, read_at)
        self._edition_read_at = read_at
