"""One batch through both hops, with hops that are plain functions."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable

import pytest

from gateway.batched_ranking import BatchedRanking, RankingRequest
from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import DeadlineError, FieldViolation, InvalidRequestError, UpstreamError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.call import Call


class Hops:
    """Embeds a user as (user_id, 0) and finds one movie whose id is the user's.

    A user of age 999 is refused by the embedder, the genre "bad" by the search service.
    """

    def __init__(self) -> None:
        self.embedded: list[int] = []
        self.searched: list[int] = []
        self.timeouts: list[float] = []
        self.failure: Exception | None = None
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
        refuse(request.users, lambda user: user.age == 999, "users[{}].age", "is too much")
        data = b"".join(struct.pack("<2f", user.user_id, 0) for user in request.users)
        vectors = types_pb2.Vectors(dimension=2, data=data, model_version="m1")
        unknown = [row for row, user in enumerate(request.users) if user.user_id > 100]
        return embedder_pb2.EmbedUsersResponse(
            vectors=vectors, unknown_user_rows=unknown, score_scale=5
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
        refuse(
            request.queries,
            lambda query: "bad" in query.filter.genres,
            "queries[{}].filter.genres[0]",
            "is not a genre",
        )
        response = search_pb2.SearchMoviesResponse(index="i1", model_version="m1")
        for user_id, _ in struct.iter_unpack("<2f", request.vectors.data):
            response.results.add().hits.add(movie={"movie_id": int(user_id)}, similarity=0.5)
        return response


def refuse(items: object, is_bad: Callable[..., bool], field: str, description: str) -> None:
    bad = [row for row, item in enumerate(items) if is_bad(item)]
    if bad:
        raise InvalidRequestError([FieldViolation(field.format(row), description) for row in bad])


def request(user_id: int, *, genre: str = "", seconds: float = 5.0, **user: int) -> RankingRequest:
    filter_ = search_pb2.MovieFilter(genres=[genre] if genre else [])
    query = search_pb2.MovieQuery(top_k=1, filter=filter_)
    deadline = time.monotonic() + seconds
    call = Call("m", "anonymous", deadline, 0.02, TraceContext())
    return RankingRequest(types_pb2.User(user_id=user_id, **user), query, call)


def batched_ranking(hops: Hops, *, max_batch: int = 64) -> BatchedRanking:
    return BatchedRanking(
        hops.embed,
        hops.search,
        max_batch=max_batch,
        max_in_flight=1,
        telemetry=Telemetry("test"),
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
    assert len(hops.embedded) <= 3, "all bad users and then all bad filters leave at once"


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
