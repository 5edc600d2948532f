"""Where requests wait for a batch, and how a batch becomes one EmbedUsers and one SearchMovies."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.opaque_movies import MovieHit
from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.calling.channel import UnaryCall
from rpckit.coalescer import Coalescer
from rpckit.errors import FieldViolation, InvalidRequestError
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.call import Call

_ROW = re.compile(r"(users|queries)\[(\d+)\]\.?")


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
    score_scale: float
    """Similarity × this is the score."""
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
        *,
        max_batch: int,
        max_in_flight: int,
        telemetry: Telemetry,
    ) -> None:
        """Combine the two calls.

        Args:
            embed: EmbedderService.EmbedUsers.
            search: SearchService.SearchMovies, which returns `opaque_movies.SearchMoviesResponse`.
            max_batch: Most requests in one batch.
            max_in_flight: Most batches under way at once; further requests wait.
            telemetry: Where batches and waits are measured.
        """
        self._embed = embed
        self._search = search
        self._coalescer = Coalescer(
            self._rank_batch,
            name="recommend",
            max_batch=max_batch,
            max_in_flight=max_in_flight,
            observer=telemetry.coalescer("recommend"),
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
        outcome = await self._coalescer.submit(request, deadline=request.call.deadline)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is under way and refuse the rest."""
        await self._coalescer.close()

    async def _rank_batch(self, requests: Sequence[RankingRequest]) -> list[Ranking | Exception]:
        """Rank a batch; requests that a hop refuses leave it, and the others are sent again."""
        answers: dict[int, Ranking | Exception] = {}
        rows = list(range(len(requests)))
        while rows:
            try:
                rankings = await self._embed_and_search([requests[row] for row in rows])
            except InvalidRequestError as error:
                refused = _violations_by_row(error)
                if not refused:  # the fault of no single request: all are told
                    answers.update(dict.fromkeys(rows, error))
                    break
                for n, violations in refused.items():
                    answers[rows[n]] = InvalidRequestError(violations)
                rows = [row for n, row in enumerate(rows) if n not in refused]
            else:
                answers.update(zip(rows, rankings, strict=True))
                break
        return [answers[row] for row in range(len(requests))]

    async def _embed_and_search(self, requests: Sequence[RankingRequest]) -> list[Ranking]:
        trace, *links = (request.call.trace for request in requests)
        started = time.monotonic()
        embedded = await self._embed(
            embedder_pb2.EmbedUsersRequest(users=[request.user for request in requests]),
            timeout=_budget(requests),
            trace=trace,
            links=links,
        )
        between = time.monotonic()
        found = await self._search(
            search_pb2.SearchMoviesRequest(
                vectors=embedded.vectors, queries=[request.query for request in requests]
            ),
            timeout=_budget(requests),
            trace=trace,
            links=links,
        )
        ended = time.monotonic()
        unknown = frozenset(embedded.unknown_user_rows)
        embed_us, search_us = _microseconds(between - started), _microseconds(ended - between)
        return [
            Ranking(
                hits=result.hits,
                score_scale=embedded.score_scale,
                user_id_unknown=row in unknown,
                model_version=found.model_version,
                index=found.index,
                embed_us=embed_us,
                search_us=search_us,
            )
            for row, result in enumerate(found.results)
        ]


def _budget(requests: Sequence[RankingRequest]) -> float:
    """Return what the most patient request has left.

    Each request's own deadline still holds, and the channel has a bound for each attempt.
    """
    longest = max(requests, key=lambda request: request.call.deadline)
    return longest.call.budget()


def _violations_by_row(error: InvalidRequestError) -> dict[int, list[FieldViolation]]:
    """Sort what a hop refuses by the request that it is about, under the caller's field names.

    `users[2].age` becomes `user.age` of row 2, `queries[2].filter.genres[0]` becomes
    `filter.genres[0]`. Empty if any violation is about no single request.
    """
    rows: dict[int, list[FieldViolation]] = {}
    for violation in error.violations:
        match = _ROW.match(violation.field)
        if match is None:
            return {}
        prefix = "user." if match[1] == "users" else ""
        field = (prefix + violation.field[match.end() :]).rstrip(".")
        rows.setdefault(int(match[2]), []).append(FieldViolation(field, violation.description))
    return rows


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
