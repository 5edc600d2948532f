"""One batch through both hops, with hops that are plain functions."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gateway.batched_ranking import BatchedRanking, RankingRequest
from gateway.message_sizes import MAX_HIT_BYTES
from gateway.request_batches import Bounds
from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import (
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    UpstreamError,
)
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.refused_rows import RefusedRows
from rpckit.serving.call import Call


class Hops:
    """Embeds a user as (user_id, 0) and finds one movie whose id is the user's.

    A user of age 999 is refused by the embedder, the genre "bad" by the search service, and more
    than `max_users` or `max_queries` in one request by either.
    """

    def __init__(self) -> None:
        self.embedded: list[int] = []
        self.searched: list[int] = []
        self.timeouts: list[float] = []
        self.failure: Exception | None = None
        self.max_users = self.max_queries = 1000
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(
        self,
        request: embedder_pb2.EmbedUsersRequest,
        *,
        timeout: float,
        trace: TraceContext,
        links: object,
    ) -> embedder_pb2.EmbedUsersResponse:
        await self.gate.wait()
        self.embedded.append(len(request.users))
        self.timeouts.append(timeout)
        if self.failure:
            raise self.failure
        if len(request.users) > self.max_users:
            raise InvalidRequestError.of("users", "are too many")
        assert request.return_partial_success
        good, refused = refuse(request.users, lambda user: user.age == 999, "users[{}].age")
        data = b"".join(struct.pack("<2f", user.user_id, 0) for user in good)
        vectors = types_pb2.Vectors(dimension=2, data=data, model_version="m1")
        unknown = [row for row, user in enumerate(request.users) if user.user_id > 100]
        return embedder_pb2.EmbedUsersResponse(
            vectors=vectors, unknown_user_rows=unknown, score_scale=5, refused_users=refused
        )

    async def search(
        self,
        request: search_pb2.SearchMoviesRequest,
        *,
        timeout: float,
        trace: TraceContext,
        links: object,
    ) -> search_pb2.SearchMoviesResponse:
        self.searched.append(len(request.queries))
        if len(request.queries) > self.max_queries:
            raise MessageTooLargeError("too many")
        assert request.return_partial_success
        users = list(struct.iter_unpack("<2f", request.vectors.data))
        rows = zip(users, request.queries, strict=True)
        good, refused = refuse(
            rows, lambda row: "bad" in row[1].filter.genres, "queries[{}].filter.genres[0]"
        )
        response = search_pb2.SearchMoviesResponse(
            index="i1", model_version="m1", refused_queries=refused
        )
        for (user_id, _), _ in good:
            response.results.add().hits.add(movie={"movie_id": int(user_id)}, similarity=0.5)
        return response


def refuse(
    items: Iterable[Any], is_bad: Callable[..., bool], field: str
) -> tuple[list[Any], list[types_pb2.RefusedRow]]:
    """Return the good items, and the refusals of the bad ones."""
    good, refused = [], RefusedRows(partial_success=True)
    for row, item in enumerate(items):
        if is_bad(item):
            refused.add(row, [FieldViolation(field.format(row), "is bad")])
        else:
            good.append(item)
    return good, list(refused.messages())


def request(user_id: int, *, genre: str = "", seconds: float = 5.0, **user: int) -> RankingRequest:
    filter_ = search_pb2.MovieFilter(genres=[genre] if genre else [])
    query = search_pb2.MovieQuery(top_k=1, filter=filter_)
    deadline = time.monotonic() + seconds
    call = Call("m", "anonymous", deadline, 0.02, TraceContext())
    return RankingRequest(types_pb2.User(user_id=user_id, **user), query, call)


def batched_ranking(
    hops: Hops, *, max_batch: int = 64, max_message_bytes: int = 2**23
) -> BatchedRanking:
    return BatchedRanking(
        hops.embed,
        hops.search,
        Bounds(max_batch, max_message_bytes, max_in_flight=1),
        Telemetry("test"),
    )


async def test_requests_that_wait_together_take_one_call_of_each_hop() -> None:
    hops = Hops()
    hops.gate.clear()
    batched = batched_ranking(hops)
    tasks = [asyncio.create_task(batched.rank(request(1)))]
    await asyncio.sleep(0.01)  # the first leaves alone, the others wait for its slot
    tasks += [asyncio.create_task(batched.rank(request(user))) for user in range(2, 11)]
    await asyncio.sleep(0.01)
    hops.gate.set()
    rankings = await asyncio.gather(*tasks)
    assert hops.embedded == hops.searched == [1, 9]
    assert [r.hits[0].movie.movie_id for r, _ in rankings] == list(range(1, 11))


async def test_max_batch_1_sends_every_request_alone() -> None:
    hops = Hops()
    batched = batched_ranking(hops, max_batch=1)
    await asyncio.gather(*(batched.rank(request(user)) for user in range(1, 6)))
    assert hops.embedded == [1] * 5


async def test_bad_requests_hear_of_their_own_fields_and_the_others_are_answered() -> None:
    hops = Hops()
    requests = [
        request(1),
        request(2, age=999),
        request(3, genre="bad"),
        request(4),
        request(5, age=999),
        request(6),
    ]
    batched = batched_ranking(hops)
    answers = await asyncio.gather(*map(batched.rank, requests), return_exceptions=True)
    fields = {
        row: [violation.field for violation in answer.violations]
        for row, answer in enumerate(answers)
        if isinstance(answer, InvalidRequestError)
    }
    assert fields == {1: ["user.age"], 2: ["filter.genres[0]"], 4: ["user.age"]}
    good = [answers[row][0].hits[0].movie.movie_id for row in (0, 3, 5)]
    assert good == [1, 4, 6]
    assert (hops.embedded, hops.searched) == ([6], [4]), "nothing is sent twice"


async def test_a_batch_of_bad_users_alone_is_not_searched() -> None:
    hops = Hops()
    batched = batched_ranking(hops)
    answers = await asyncio.gather(
        *(batched.rank(request(user, age=999)) for user in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [InvalidRequestError] * 2
    assert (hops.embedded, hops.searched) == ([2], [])


async def test_a_batch_of_bad_queries_alone_answers_nobody() -> None:
    batched = batched_ranking(Hops())
    answers = await asyncio.gather(
        *(batched.rank(request(user, genre="bad")) for user in (1, 2)), return_exceptions=True
    )
    assert [answer.violations[0].field for answer in answers] == ["filter.genres[0]"] * 2


async def test_a_batch_with_more_rows_than_the_embedder_takes_is_halved_once_and_for_all() -> None:
    hops = Hops()
    hops.max_users = 8
    batched = batched_ranking(hops)
    rankings = await asyncio.gather(*(batched.rank(request(user)) for user in range(1, 33)))
    assert [r.hits[0].movie.movie_id for r, _ in rankings] == list(range(1, 33))
    assert hops.embedded == [32, 16, 8, 8, 16, 8, 8]
    hops.embedded.clear()
    await asyncio.gather(*(batched.rank(request(user)) for user in range(1, 33)))
    assert hops.embedded == [8] * 4


async def test_a_batch_that_is_too_large_a_message_for_a_hop_is_halved() -> None:
    hops = Hops()
    hops.max_queries = 2
    batched = batched_ranking(hops)
    rankings = await asyncio.gather(*(batched.rank(request(user)) for user in range(1, 5)))
    assert [r.hits[0].movie.movie_id for r, _ in rankings] == [1, 2, 3, 4]
    assert hops.searched == [4, 2, 2]


async def test_what_is_too_large_alone_is_refused_alone() -> None:
    hops = Hops()
    hops.max_queries = 0
    with pytest.raises(MessageTooLargeError):
        await batched_ranking(hops).rank(request(1))
    assert hops.searched == [1]


async def test_what_travels_together_fits_into_a_message_whatever_is_found() -> None:
    hops = Hops()
    batched = batched_ranking(hops, max_message_bytes=10 * MAX_HIT_BYTES)
    deep = [request(user) for user in range(1, 6)]
    for each in deep:
        each.query.top_k = 4
    await asyncio.gather(*map(batched.rank, deep))
    assert hops.searched == [2, 2, 1]


async def test_what_travels_together_fits_into_a_message_whatever_is_asked() -> None:
    hops = Hops()
    batched = batched_ranking(hops, max_message_bytes=60_000)
    long = [request(user) for user in range(1, 6)]
    for each in long:
        each.query.exclude_movie_ids.extend([2**62] * 2_600)  # 23 kB
    await asyncio.gather(*map(batched.rank, long))
    assert hops.searched == [2, 2, 1]


async def test_an_error_of_no_single_request_reaches_all_of_them() -> None:
    hops = Hops()
    hops.failure = UpstreamError("the embedder is down")
    batched = batched_ranking(hops)
    answers = await asyncio.gather(
        *(batched.rank(request(u)) for u in (1, 2)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [UpstreamError, UpstreamError]


async def test_the_hops_get_the_most_patient_requests_budget_less_the_margin() -> None:
    hops = Hops()
    batched = batched_ranking(hops)
    await asyncio.gather(batched.rank(request(1, seconds=1)), batched.rank(request(2, seconds=3)))
    assert hops.timeouts == [pytest.approx(2.98, abs=0.1)]


async def test_a_request_without_time_left_costs_no_hop() -> None:
    hops = Hops()
    with pytest.raises(DeadlineError):
        await batched_ranking(hops).rank(request(1, seconds=0.01))
    assert hops.embedded == []


async def test_an_unknown_user_is_said_to_be_unknown() -> None:
    batched = batched_ranking(Hops())
    (known, _), (unknown, _) = await asyncio.gather(
        batched.rank(request(1)), batched.rank(request(101))
    )
    assert (known.user_id_unknown, unknown.user_id_unknown) == (False, True)


async def test_a_caller_that_goes_cancels_the_hop_that_only_it_waits_for() -> None:
    hops = Hops()
    hops.gate.clear()
    batched = batched_ranking(hops)
    task = asyncio.create_task(batched.rank(request(1)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hops.gate.set()
    await asyncio.sleep(0.01)
    assert hops.embedded == []
