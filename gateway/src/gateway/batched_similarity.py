"""Where requests for similar movies wait, and how a batch of them becomes one SearchMovies.

They have a queue of their own, because they need no embedder: they are answered while it is down,
and do not wait for it while it is slow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.message_sizes import share_of_messages
from gateway.opaque_movies import MovieHit
from gateway.request_batches import Bounds, RequestBatches, budget, microseconds
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.calling.channel import UnaryCall
from rpckit.observing.telemetry import Telemetry
from rpckit.refused_rows import refusals
from rpckit.serving.call import Call

_NOBODY = types_pb2.User()


@dataclass(frozen=True, slots=True)
class SimilarityRequest:
    """What one caller asks for; one row of a batch."""

    query: search_pb2.MovieQuery
    """With liked movies in place of a vector."""
    call: Call


@dataclass(frozen=True, slots=True)
class Similar:
    """What the search service answers to one request."""

    hits: Sequence[MovieHit]
    """At most query.top_k, best first."""
    unknown_movie_ids: Sequence[int]
    """Movies of the query that the index does not have."""
    model_version: str
    index: str
    search_us: int


class BatchedSimilarity:
    """Sends requests that wait at the same time to the search service together, as one batch."""

    def __init__(
        self,
        search: UnaryCall[search_pb2.SearchMoviesRequest, Any],
        bounds: Bounds,
        telemetry: Telemetry,
    ) -> None:
        """Batch a call.

        Args:
            search: SearchService.SearchMovies, which returns `opaque_movies.SearchMoviesResponse`.
            bounds: Bounds of the batches.
            telemetry: Where batches and waits are measured.
        """
        self._search = search
        self._batches = RequestBatches(
            self._search_batch,
            name="similar",
            measure=lambda each: share_of_messages(_NOBODY, each.query, 0),
            bounds=bounds,
            telemetry=telemetry,
        )

    async def find(self, request: SimilarityRequest) -> tuple[Similar, float]:
        """Find what one request asks for.

        Returns:
            What was found, and the seconds that the request waited for its batch.

        Raises:
            InvalidRequestError: The search service refuses a field of this request.
            DeadlineError: The request's budget ran out.
            ServiceError: What the hop answered instead.
        """
        outcome = await self._batches.submit(request)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is under way and refuse the rest."""
        await self._batches.close()

    async def _search_batch(
        self, requests: Sequence[SimilarityRequest]
    ) -> list[Similar | Exception]:
        trace, *links = (request.call.trace for request in requests)
        started = time.monotonic()
        found = await self._search(
            search_pb2.SearchMoviesRequest(
                queries=[request.query for request in requests], return_partial_success=True
            ),
            timeout=budget(requests),
            trace=trace,
            links=links,
        )
        search_us = microseconds(time.monotonic() - started)
        answers: dict[int, Similar | Exception] = {}
        answers.update(refusals(found.refused_queries, "queries"))
        answered = [row for row in range(len(requests)) if row not in answers]
        for row, result in zip(answered, found.results, strict=True):
            answers[row] = Similar(
                hits=result.hits,
                unknown_movie_ids=result.unknown_movie_ids,
                model_version=found.model_version,
                index=found.index,
                search_us=search_us,
            )
        return [answers[row] for row in range(len(requests))]
