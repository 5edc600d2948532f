"""Where requests wait for a batch, and how a batch becomes one EmbedUsers and one SearchMovies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.message_sizes import share_of_messages
from gateway.opaque_movies import MovieHit
from gateway.request_batches import Bounds, RequestBatches, budget, microseconds
from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.calling.channel import UnaryCall
from rpckit.observing.telemetry import Telemetry
from rpckit.refused_rows import refusals
from rpckit.serving.call import Call


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """What one caller asks for; one row of a batch."""

    user: types_pb2.User
    query: search_pb2.MovieQuery
    call: Call


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the two services answer to one request."""

    hits: Sequence[MovieHit]
    """At most query.top_k, best first."""
    unknown_movie_ids: Sequence[int]
    """Candidates of the query that the index does not have."""
    score_scale: float
    """Similarity × this is the score."""
    score_kind: types_pb2.ScoreKind.ValueType
    """What a score says."""
    ignored_movie_ids: Sequence[int]
    """Movies of the user's history that the model does not know."""
    user_id_unknown: bool
    """The user's id was given and the model does not know it."""
    model_version: str
    index: str
    embed_us: int
    search_us: int


class BatchedRanking:
    """Sends requests that wait at the same time to both services together, as one batch."""

    def __init__(
        self,
        embed: UnaryCall[embedder_pb2.EmbedUsersRequest, embedder_pb2.EmbedUsersResponse],
        search: UnaryCall[search_pb2.SearchMoviesRequest, Any],
        bounds: Bounds,
        telemetry: Telemetry,
    ) -> None:
        """Combine the two calls.

        Args:
            embed: EmbedderService.EmbedUsers.
            search: SearchService.SearchMovies, which returns `opaque_movies.SearchMoviesResponse`.
            bounds: Bounds of the batches.
            telemetry: Where batches and waits are measured.
        """
        self._embed = embed
        self._search = search
        self._vector_bytes = 0  # unknown before the first answer
        self._batches = RequestBatches(
            self._embed_and_search,
            name="recommend",
            measure=lambda each: share_of_messages(each.user, each.query, self._vector_bytes),
            bounds=bounds,
            telemetry=telemetry,
        )

    async def rank(self, request: RankingRequest) -> tuple[Ranking, float]:
        """Rank the catalogue for one request.

        Returns:
            The ranking, and the seconds that the request waited for its batch.

        Raises:
            InvalidRequestError: The embedder or the search service refuses a field of this request;
                named as the caller named it.
            DeadlineError: The request's budget ran out.
            ServiceError: What a hop answered instead.
        """
        outcome = await self._batches.submit(request)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is under way and refuse the rest."""
        await self._batches.close()

    async def _embed_and_search(
        self, requests: Sequence[RankingRequest]
    ) -> list[Ranking | Exception]:
        """Rank a batch; what a hop refuses leaves it, and the other requests go on."""
        trace, *links = (request.call.trace for request in requests)
        started = time.monotonic()
        embedded = await self._embed(
            embedder_pb2.EmbedUsersRequest(
                users=[request.user for request in requests], return_partial_success=True
            ),
            timeout=budget(requests),
            trace=trace,
            links=links,
        )
        between = time.monotonic()
        self._vector_bytes = embedded.vectors.dimension * 4
        answers: dict[int, Ranking | Exception] = {}
        answers.update(refusals(embedded.refused_users, "users", "user"))
        searched = [row for row in range(len(requests)) if row not in answers]
        if not searched:
            return list(answers.values())
        found = await self._search(
            search_pb2.SearchMoviesRequest(
                vectors=embedded.vectors,
                queries=[requests[row].query for row in searched],
                return_partial_success=True,
            ),
            timeout=budget(requests),
            trace=trace,
            links=links,
        )
        ended = time.monotonic()
        refused = refusals(found.refused_queries, "queries")
        answers.update((searched[query], error) for query, error in refused.items())
        unknown = frozenset(embedded.unknown_user_rows)
        ignored = {each.row: each.movie_ids for each in embedded.ignored_movies}
        embed_us, search_us = microseconds(between - started), microseconds(ended - between)
        ranked = [row for row in searched if row not in answers]
        for row, result in zip(ranked, found.results, strict=True):
            answers[row] = Ranking(
                hits=result.hits,
                unknown_movie_ids=result.unknown_movie_ids,
                score_scale=embedded.score_scale,
                score_kind=embedded.score_kind,
                ignored_movie_ids=ignored.get(row, ()),
                user_id_unknown=row in unknown,
                model_version=found.model_version,
                index=found.index,
                embed_us=embed_us,
                search_us=search_us,
            )
        return [answers[row] for row in range(len(requests))]
