"""Watches which index is active and whether the store answers, in the background.

Requests never ask Milvus either; what they need is known when they come. This is the one loop that
follows the alias of the active index; whoever depends on it is an `ActiveIndexObserver`.

Every write leaves a new edition in the properties of the collection, after the movies are written
and before its caller gets the answer. When an edition is new here, the movies are counted with a
read that sees all earlier writes, and only then are the observers told: what they read from then on
is at least as new.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from rpckit.errors import NotReadyError, ServiceError
from search_service.index.errors import (
    IndexNotFoundError,
    NoActiveIndexError,
    StoreUnavailableError,
)
from search_service.index.vector_index import METRIC, IndexSpec
from search_service.store.milvus_client import Milvus

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.4
"""Pause between two looks at the store."""
SILENCE_SECONDS = 1.4
"""Time without an answer after which a store elsewhere counts as gone; the pause of the health
service (rpckit.serving.health) still fits into 2 s."""

_ALIAS = "_marquee_active"  # the name of an index starts with a letter, so none can be called that


class ActiveIndexObserver:
    """Depends on the active index; overrides what it wants to know. Methods must be quick."""

    def look_started(self) -> None:
        """Take note that the store is looked at again."""

    def active_index_changed(self, index: IndexSpec, movies: int) -> None:
        """Take note that another index is active, and how many movies it holds."""

    def active_index_written(self, index: IndexSpec) -> None:
        """Take note that some process wrote to the active index."""

    def look_ended(self) -> None:
        """Take note that all that this look found is known."""


class ActiveIndexWatcher:
    """Watches one Milvus, whether it is there or not."""

    def __init__(self, milvus: Milvus, *, silence: float) -> None:
        """Know nothing yet.

        Args:
            milvus: Connection to it.
            silence: Seconds without an answer after which it counts as gone.
        """
        self._milvus = milvus
        self._silence = silence
        self._observers: list[ActiveIndexObserver] = []
        self._active: IndexSpec | None = None
        self._edition = ""  # of the active index
        self._edition_seen = -math.inf  # when the look that last saw it began, in seconds
        self._answered = -math.inf  # when the store last answered, in seconds
        self._problem: str | None = "Milvus has not answered yet"
        self._active_problem: str | None = None

    def subscribe(self, observer: ActiveIndexObserver) -> None:
        """Tell an observer about every look from the next one on, after those that came before."""
        self._observers.append(observer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Look once, then go on looking until the context is left."""
        await self._look()
        task = asyncio.create_task(self._watch(), name="watch the active index")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def check_store(self) -> None:
        """Return if the store answers.

        Raises:
            NotReadyError: It does not.
        """
        if self._problem:
            raise NotReadyError(self._problem)
        if time.monotonic() - self._answered > self._silence:
            raise NotReadyError(f"Milvus has not answered for {self._silence} s")

    def check_active(self) -> None:
        """Return if the store answers and the active index can be searched.

        Raises:
            NotReadyError: That is not so.
        """
        self.check_store()
        if self._active_problem:
            raise NotReadyError(self._active_problem)

    def active(self) -> IndexSpec:
        """Return the active index.

        Raises:
            NoActiveIndexError: There is none.
            StoreUnavailableError: It is not known, because the store has not been there yet.
        """
        if self._active is None:
            self.refuse_without_store()
            raise NoActiveIndexError("no index is active")
        return self._active

    def is_active(self, index: IndexSpec) -> bool:
        """Tell whether an index is the active one, as far as is known."""
        return self._active is not None and self._active.name == index.name

    def notices_writes(self, index: IndexSpec) -> bool:
        """Tell whether a write of another process to an index would be noticed by the next look."""
        seen_lately = time.monotonic() - self._edition_seen <= self._silence
        return (
            seen_lately and not self._problem and not self._active_problem and self.is_active(index)
        )

    def refuse_without_store(self) -> None:
        """Return if the store is there, though it may be slow.

        Raises:
            StoreUnavailableError: It is not: at once, where a call would try to connect.
        """
        if self._problem:
            raise StoreUnavailableError(self._problem, retry_after=1.0)

    async def active_in_store(self) -> str:
        """Return the name of the active index as the store has it now; empty: none."""
        try:
            return (await self._milvus.spec(_ALIAS)).name
        except IndexNotFoundError:
            return ""

    async def activate(self, index: IndexSpec, movies: int) -> None:
        """Make an index the active one, for every process on this Milvus.

        Args:
            index: Which one, loaded.
            movies: How many it holds.
        """
        await self._milvus.set_alias(_ALIAS, index.name)
        self._active_problem = None
        self._set_active(index, movies)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            await self._look()

    async def _look(self) -> None:
        began, before = time.monotonic(), self._active
        for observer in self._observers:
            observer.look_started()
        try:
            active, edition, movies, problem = await self._examine()
        except ServiceError as error:
            self._set_problem(error.message)
        except Exception as error:  # whatever pymilvus makes of a Milvus that is ill
            self._set_problem(f"{type(error).__name__} from Milvus: {error}")
        else:
            self._answered = time.monotonic()
            self._set_problem(None)
            if self._active is before:  # else it was activated here since the look began
                self._active_problem = problem
                self._set_active(active, movies)
                self._set_edition(edition, began)
        for observer in self._observers:
            observer.look_ended()

    async def _examine(self) -> tuple[IndexSpec | None, str, int, str | None]:
        """Return the active index, its edition, its movies and what is wrong with it.

        The movies are counted only if index or edition were not known.
        """
        try:
            spec, edition = await self._milvus.spec_and_edition(_ALIAS)
        except IndexNotFoundError:
            return None, "", 0, "no index is active"
        if spec.metric != METRIC:
            return spec, "", 0, f"index {spec.name!r} has metric {spec.metric}, not {METRIC}"
        if not await self._milvus.is_loaded(spec.name):
            await self._milvus.load(spec.name)
        if spec == self._active and edition == self._edition:
            return spec, edition, 0, None
        return spec, edition, await self._milvus.count(spec.name), None

    def _set_problem(self, problem: str | None) -> None:
        if problem != self._problem:
            if problem:
                log.warning("the store cannot be reached: %s", problem)
            else:
                log.info("the store can be reached")
        self._problem = problem

    def _set_active(self, active: IndexSpec | None, movies: int) -> None:
        if active != self._active:
            log.info("active index: %s", active.name if active else "none")
            self._active = active
            self._edition = ""
            self._edition_seen = -math.inf
            if active is not None:
                for observer in self._observers:
                    observer.active_index_changed(active, movies)

    def _set_edition(self, edition: str, seen: float) -> None:
        if self._active is not None and edition != self._edition:
            for observer in self._observers:
                observer.active_index_written(self._active)
        self._edition = edition
        self._edition_seen = seen
