"""Composes the two hops: a batch of requests becomes one EmbedUsers and one SearchMovies."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.passthrough import MovieHit
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
class Ask:
    """One request, as it travels with others."""

    user: types_pb2.User
    query: search_pb2.MovieQuery
    call: Call


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the two services say to one `Ask`."""

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


class Recommender:
    """Lets requests that arrive together travel together, through both hops."""

    def __init__(
        self,
        embed: UnaryCall[embedder_pb2.EmbedUsersRequest, embedder_pb2.EmbedUsersResponse],
        search: UnaryCall[search_pb2.SearchMoviesRequest, Any],
        *,
        max_batch: int,
        max_in_flight: int,
        max_queue: int,
        telemetry: Telemetry,
    ) -> None:
        """Take the two calls that are composed.

        Args:
            embed: EmbedderService.EmbedUsers.
            search: SearchService.SearchMovies, which returns `passthrough.SearchMoviesResponse`.
            max_batch: Requests that travel together at most.
            max_in_flight: Batches under way at most; requests wait while all are.
            max_queue: Requests that wait at most; one more is refused.
            telemetry: Where batches and waits are measured.
        """
        self._embed = embed
        self._search = search
        self._coalescer = Coalescer(
            self._rank_together,
            name="recommend",
            max_batch=max_batch,
            max_in_flight=max_in_flight,
            max_queue=max_queue,
            observer=telemetry.coalescer("recommend"),
        )

    async def rank(self, ask: Ask) -> tuple[Ranking, float]:
        """Rank the catalogue for one request.

        Returns:
            The ranking, and the seconds that the request waited for its batch.

        Raises:
            InvalidRequestError: The embedder or the search service refuses a field of this request;
                named as the caller named it.
            OverloadedError: max_queue requests wait already.
            DeadlineError: The request's budget ran out.
            ServiceError: What a hop answered instead.
        """
        outcome = await self._coalescer.submit(ask, deadline=ask.call.deadline)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is under way and refuse the rest."""
        await self._coalescer.close()

    async def _rank_together(self, asks: Sequence[Ask]) -> list[Ranking | Exception]:
        answers: list[Ranking | Exception | None] = [None] * len(asks)
        rows = list(range(len(asks)))
        while rows:
            try:
                rankings = await self._two_hops([asks[row] for row in rows])
            except InvalidRequestError as error:
                blamed = _by_row(error)
                if not blamed:  # not the fault of one request: all must hear of it
                    rankings = [error] * len(rows)
                else:
                    for position, violations in blamed.items():
                        answers[rows[position]] = InvalidRequestError(violations)
                    rows = [row for position, row in enumerate(rows) if position not in blamed]
                    continue
            for row, ranking in zip(rows, rankings, strict=True):
                answers[row] = ranking
            rows = []
        return [answer for answer in answers if answer is not None]

    async def _two_hops(self, asks: Sequence[Ask]) -> Sequence[Ranking | Exception]:
        trace, *links = (ask.call.trace for ask in asks)
        started = time.monotonic()
        embedded = await self._embed(
            embedder_pb2.EmbedUsersRequest(users=[ask.user for ask in asks]),
            timeout=_budget(asks),
            trace=trace,
            links=links,
        )
        between = time.monotonic()
        found = await self._search(
            search_pb2.SearchMoviesRequest(
                vectors=embedded.vectors, queries=[ask.query for ask in asks]
            ),
            timeout=_budget(asks),
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


def _budget(asks: Sequence[Ask]) -> float:
    """Return what the most patient request has left; each request's own deadline still holds."""
    longest = max(asks, key=lambda ask: ask.call.deadline)
    return longest.call.budget()


def _by_row(error: InvalidRequestError) -> dict[int, list[FieldViolation]]:
    """Sort a hop's violations by the request that they are about, fields renamed to its own.

    `users[2].age` becomes `user.age` of request 2, `queries[2].filter.genres[0]` becomes
    `filter.genres[0]`. Empty if any violation is about no single request.
    """
    rows: dict[int, list[FieldViolation]] = {}
    for violation in error.violations:
        found = _ROW.match(violation.field)
        if found is None:
            return {}
        prefix = "user." if found[1] == "users" else ""
        field = (prefix + violation.field[found.end() :]).rstrip(".")
        rows.setdefault(int(found[2]), []).append(FieldViolation(field, violation.description))
    return rows


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
