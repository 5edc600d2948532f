"""Searches of several callers, run as one batch."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rpckit.coalescer import Coalescer
from rpckit.errors import ServiceError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext, use_traces
from rpckit.serving.call import Call
from search_service.index.query import Query
from search_service.index.vector_index import Hits, IndexSpec, VectorIndex, Vectors
from search_service.settings import SearchSettings

ReadSeen = Callable[[Collection[int]], Awaitable[Mapping[int, NDArray[np.int64]]]]
"""Returns the ids of the movies that each user has seen, ascending, each once."""


class Answer(NamedTuple):
    """Result of one caller's search, and where its time went."""

    hits: list[Hits]
    """The hits of each query."""
    queue_seconds: float
    search_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _PendingSearch:
    """One caller's search while it waits for its batch."""

    index: IndexSpec
    vectors: Vectors
    queries: list[Query]
    seen_by: Mapping[int, int]
    trace: TraceContext


class _Result(NamedTuple):
    """One caller's part of a batch's result."""

    hits: list[Hits]
    seconds: float
    """Time that the whole batch took."""


class BatchedSearch:
    """Searches a VectorIndex for many requests at a time."""

    def __init__(
        self,
        index: VectorIndex,
        read_seen: ReadSeen,
        settings: SearchSettings,
        telemetry: Telemetry,
    ) -> None:
        """Search `index`; `read_seen` returns what users have seen, by user."""
        self._index = index
        self._read_seen = read_seen
        self._coalescer: Coalescer[_PendingSearch, _Result] = Coalescer(
            self._search_batch,
            name="search",
            max_batch=settings.max_batch_rows,
            max_in_flight=settings.max_batches_in_flight,
            max_queue=settings.max_queued_rows,
            weigh=lambda pending: len(pending.queries),
            observer=telemetry.coalescer("search"),
        )

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        index: VectorIndex,
        read_seen: ReadSeen,
        settings: SearchSettings,
        telemetry: Telemetry,
    ) -> AsyncIterator[Self]:
        """Yield a BatchedSearch; leaving the context waits for the searches it has admitted."""
        batched = cls(index, read_seen, settings, telemetry)
        try:
            yield batched
        finally:
            await batched._coalescer.close()

    async def search(
        self,
        index: IndexSpec,
        vectors: Vectors,
        queries: list[Query],
        seen_by: Mapping[int, int],
        call: Call,
    ) -> Answer:
        """Find the movies with the largest inner product for each row; see VectorIndex.search.

        All that the index could refuse has been checked (`contract.search_validation`): the
        other searches of the batch must not fail with this one.

        Args:
            index: A spec that `VectorIndex.resolve` returned.
            vectors: One row for each query.
            queries: What to find for each row. Without any there is nothing to wait for.
            seen_by: User whose seen movies are left out, for the rows that have one.
            call: The call to answer; its deadline bounds the time in the queue.

        Raises:
            OverloadedError: The queue is full.
            DeadlineError: The deadline passed before the search began.
        """
        if not queries:
            return Answer([], 0.0, 0.0)
        found, queued = await self._coalescer.submit(
            _PendingSearch(index, vectors, queries, seen_by, call.trace), deadline=call.deadline
        )
        return Answer(found.hits, queued, found.seconds)

    async def _search_batch(self, batch: Sequence[_PendingSearch]) -> list[_Result | Exception]:
        answers: dict[int, _Result | Exception] = {}
        try:
            batch = await self._leaving_out_seen(batch)
        except ServiceError as error:
            # Only those that need to know what was seen fail.
            answers = {n: error for n, pending in enumerate(batch) if pending.seen_by}
        by_index: dict[IndexSpec, list[int]] = {}
        for position, pending in enumerate(batch):
            if position not in answers:
                by_index.setdefault(pending.index, []).append(position)
        for index, positions in by_index.items():
            searches = [batch[position] for position in positions]
            started = time.monotonic()
            try:
                with use_traces(pending.trace for pending in searches):
                    hits = await self._search_group(index, searches)
            except ServiceError as error:
                answers.update(dict.fromkeys(positions, error))
                continue
            seconds = time.monotonic() - started
            start = 0
            for position, pending in zip(positions, searches, strict=True):
                end = start + len(pending.queries)
                answers[position] = _Result(hits[start:end], seconds)
                start = end
        return [answers[position] for position in range(len(batch))]

    async def _leaving_out_seen(self, batch: Sequence[_PendingSearch]) -> Sequence[_PendingSearch]:
        """Return the searches with what each user has seen by now."""
        user_ids = {user_id for pending in batch for user_id in pending.seen_by.values()}
        if not user_ids:
            return batch
        seen = await self._read_seen(user_ids)
        searches = []
        for pending in batch:
            queries = pending.queries.copy()
            for row, user_id in pending.seen_by.items():
                queries[row] = queries[row].excluding(seen[user_id])
            searches.append(replace(pending, queries=queries))
        return searches

    async def _search_group(
        self, index: IndexSpec, searches: Sequence[_PendingSearch]
    ) -> list[Hits]:
        if len(searches) == 1:
            return await self._index.search(index, searches[0].vectors, searches[0].queries)
        values = np.concatenate([pending.vectors.values for pending in searches])
        queries = [query for pending in searches for query in pending.queries]
        return await self._index.search(index, Vectors(values, index.model_version), queries)
