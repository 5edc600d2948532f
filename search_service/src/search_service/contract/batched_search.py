"""Searches of several callers, answered by the store together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from rpckit.coalescer import Coalescer
from rpckit.errors import ServiceError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext, use_traces
from rpckit.serving.call import Call
from search_service.index.vector_index import Hits, IndexSpec, Query, VectorIndex, Vectors
from search_service.settings import SearchSettings


class Answer(NamedTuple):
    """What a search found, and where its time went."""

    hits: list[Hits]
    queue_seconds: float
    search_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Ask:
    index: IndexSpec
    vectors: Vectors
    queries: list[Query]
    trace: TraceContext


class _Found(NamedTuple):
    hits: list[Hits]
    seconds: float


class BatchedSearch:
    """Searches a VectorIndex, many requests at a time."""

    def __init__(self, index: VectorIndex, settings: SearchSettings, telemetry: Telemetry) -> None:
        """Search `index`; nothing runs before the first search."""
        self._index = index
        self._coalescer: Coalescer[_Ask, _Found] = Coalescer(
            self._search_all,
            name="search",
            max_batch=settings.max_batch_rows,
            max_in_flight=settings.max_batches_in_flight,
            max_queue=settings.max_queued_rows,
            weigh=lambda ask: len(ask.queries),
            observer=telemetry.coalescer("search"),
        )

    @classmethod
    @asynccontextmanager
    async def over(
        cls, index: VectorIndex, settings: SearchSettings, telemetry: Telemetry
    ) -> AsyncIterator[Self]:
        """Yield one that answers what it has admitted before the context is left."""
        batched = cls(index, settings, telemetry)
        try:
            yield batched
        finally:
            await batched._coalescer.close()

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: list[Query], call: Call
    ) -> Answer:
        """Search; see VectorIndex.search for what is found and refused.

        Args:
            index: As resolved.
            vectors: One row for each query.
            queries: What is asked for each row.
            call: The call that asks.

        Raises:
            OverloadedError: Too much is waiting.
            DeadlineError: The deadline passed before the search began.
        """
        # Before it has neighbours, who must not fail with it.
        index.check_vectors(vectors)
        for row, query in enumerate(queries):
            if query.filter.genres:
                index.check_genres(query.filter.genres, f"queries[{row}].filter.genres")
        found, queued = await self._coalescer.submit(
            _Ask(index, vectors, queries, call.trace), deadline=call.deadline
        )
        return Answer(found.hits, queued, found.seconds)

    async def _search_all(self, asks: Sequence[_Ask]) -> list[_Found | Exception]:
        by_index: dict[IndexSpec, list[int]] = {}
        for position, ask in enumerate(asks):
            by_index.setdefault(ask.index, []).append(position)
        answers: dict[int, _Found | Exception] = {}
        for index, positions in by_index.items():
            together = [asks[position] for position in positions]
            started = time.monotonic()
            try:
                with use_traces(ask.trace for ask in together):
                    hits = await self._search_together(index, together)
            except ServiceError as error:
                answers.update(dict.fromkeys(positions, error))
                continue
            seconds = time.monotonic() - started
            start = 0
            for position, ask in zip(positions, together, strict=True):
                end = start + len(ask.queries)
                answers[position] = _Found(hits[start:end], seconds)
                start = end
        return [answers[position] for position in range(len(asks))]

    async def _search_together(self, index: IndexSpec, asks: Sequence[_Ask]) -> list[Hits]:
        if len(asks) == 1:
            return await self._index.search(index, asks[0].vectors, asks[0].queries)
        values = np.concatenate([ask.vectors.values for ask in asks])
        queries = [query for ask in asks for query in ask.queries]
        return await self._index.search(index, Vectors(values, index.model_version), queries)
