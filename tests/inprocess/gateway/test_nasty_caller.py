"""Whatever one caller sends, the honest callers beside him are answered, and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tests.fixtures.suite import Suite

from marquee.recommender.v1 import recommender_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

HONEST = 63
SERVICE = "/marquee.recommender.v1.RecommenderService"
HONEST_REQUEST = pb.RecommendRequest(user={"age": 25})
CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    # grpc's own word for a message that cannot be parsed
    grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True)
class Nasty:
    """One call as somebody who means harm, or does not know better, would make it."""

    message: bytes
    """What is sent as the request: not always a valid one."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    timeout: float = 10
    """Seconds."""
    method: str = "Recommend"
    leaves_after: float | None = None
    """Seconds until the caller cancels; None: he waits."""

    @property
    def parses(self) -> bool:
        """Tell whether the message is a request of the method at all."""
        try:
            getattr(pb, f"{self.method}Request").FromString(self.message)
        except Exception:
            return False
        return True


LONG = st.builds(lambda text, times: text * times, st.text(min_size=1), st.integers(1, 20_000))
IDS = st.builds(
    lambda ids, times: ids * times,
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1]), max_size=20),
    st.integers(1, 5_000),
)
USERS = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.integers(-(2**63), 2**63 - 1),
        "gender": st.integers(-(2**31), 2**31 - 1),
        "age": st.integers(0, 2**32 - 1),
        "occupation": st.integers(0, 2**32 - 1),
    },
)
GENRES = st.text() | LONG | st.sampled_from(["Drama", "drama", "' or ''=='", '"'])
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "genres": st.lists(GENRES, max_size=40),
        "min_year": st.integers(0, 2**32 - 1),
        "max_year": st.integers(0, 2**32 - 1),
    },
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "user": USERS,
        "page_size": st.integers(0, 2**32 - 1) | st.integers(1, 100),
        "page_token": st.text() | LONG,
        "filter": FILTERS,
        "exclude_movie_ids": IDS | st.just([2**63 - 1] * 1000),
        "exclude_seen": st.booleans(),
    },
).map(lambda fields: pb.RecommendRequest(**fields).SerializeToString())
VISIBLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
METADATA = st.lists(
    st.tuples(st.just("tracestate"), VISIBLE | VISIBLE.map(lambda text: (text or "x") * 100))
    | st.tuples(st.sampled_from(["traceparent", "authorization", "x-request-id"]), VISIBLE)
    | st.tuples(st.just("grpc-tags-bin"), st.binary(max_size=1_000)),
    max_size=8,
).map(tuple)
CALLERS = st.builds(
    Nasty,
    message=REQUESTS | st.binary(max_size=2_000),
    metadata=METADATA,
    timeout=st.sampled_from([0.001, 0.01, 10, 3600]),
    leaves_after=st.none() | st.sampled_from([0.0, 0.001, 0.01]),
)


async def call(suite: Suite, nasty: Nasty) -> grpc.StatusCode:
    """Make the nasty call; return its status."""
    raw = suite.gateway.unary_unary(f"{SERVICE}/{nasty.method}")
    running = raw(nasty.message, timeout=nasty.timeout, metadata=nasty.metadata)
    if nasty.leaves_after is not None:
        await asyncio.sleep(nasty.leaves_after)
        running.cancel()
    try:
        getattr(pb, f"{nasty.method}Response").FromString(await running)
    except grpc.aio.AioRpcError as error:
        return error.code()
    except asyncio.CancelledError:
        return grpc.StatusCode.CANCELLED
    return grpc.StatusCode.OK


async def honest_seconds(suite: Suite, nasty: Nasty | None) -> list[float]:
    """Return the latencies of the honest callers, all of whom must be answered."""

    async def timed() -> float:
        start = time.perf_counter()
        answer = await suite.recommender.Recommend(HONEST_REQUEST, timeout=10)
        assert len(answer.recommendations) == 10
        return time.perf_counter() - start

    callers: list[Awaitable[float]] = [timed() for _ in range(HONEST // 2)]
    neighbour = asyncio.ensure_future(call(suite, nasty)) if nasty else None
    callers += [timed() for _ in range(HONEST - len(callers))]
    seconds = await asyncio.gather(*callers)
    if neighbour is not None and nasty is not None:
        status = await neighbour
        if nasty.parses:
            assert status in CALLERS_FAULT - {grpc.StatusCode.INTERNAL} | {grpc.StatusCode.OK}
        else:
            assert status in CALLERS_FAULT
    return seconds


@hypothesis.settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(nasty=CALLERS)
async def test_no_request_fails_an_honest_caller(suite: Suite, nasty: Nasty) -> None:
    await honest_seconds(suite, nasty)


HARMFUL = {
    "bad ids": Nasty(pb.RecommendRequest(exclude_movie_ids=[0] * 1000).SerializeToString()),
    "as many ids as are valid": Nasty(
        pb.RecommendRequest(
            exclude_movie_ids=range(10_000, 0, -1), page_size=100
        ).SerializeToString()
    ),
    "as many candidates as are valid": Nasty(
        pb.RankMoviesRequest(movie_ids=range(1000, 0, -1)).SerializeToString(),
        method="RankMovies",
    ),
    "as many likes as are valid": Nasty(
        pb.SimilarMoviesRequest(
            liked_movie_ids=range(100, 0, -1),
            disliked_movie_ids=range(101, 201),
            exclude_movie_ids=range(10_000, 0, -1),
        ).SerializeToString(),
        method="SimilarMovies",
    ),
    "ids without end": Nasty(
        pb.RecommendRequest(exclude_movie_ids=[0] * 1_000_000).SerializeToString()
    ),
    "bad genres": Nasty(
        pb.RecommendRequest(filter={"genres": ["x" * 20_000] * 40}).SerializeToString()
    ),
    "unknown genre": Nasty(pb.RecommendRequest(filter={"genres": ["Nope"]}).SerializeToString()),
    "a field that the contract lacks": Nasty(
        pb.RecommendRequest(user={}).SerializeToString()[:1]
        + b"\x80\x80\x80\x03"  # a user of 6 MiB ...
        + b"\x82\x7d\xfa\xff\xff\x02"  # ... whose field 2000 fills it
        + bytes(6 * 2**20 - 6)
    ),
    "not a message": Nasty(b"\xff" * 100_000),
    "tracestate": Nasty(
        HONEST_REQUEST.SerializeToString(), metadata=(("tracestate", "a=" + "x" * 7_000),)
    ),
    "leaves at once": Nasty(HONEST_REQUEST.SerializeToString(), leaves_after=0.0),
}


@pytest.mark.parametrize("nasty", HARMFUL.values(), ids=HARMFUL)
async def test_honest_callers_wait_at_most_twice_as_long(suite: Suite, nasty: Nasty) -> None:
    """Compare the slowest answers of rounds with and without him, taken in turn.

    The slowest of 63 stands for the 99th percentile, and the median of the rounds keeps out what
    the machine does beside the test.
    """
    alone, beside = [], []
    for _ in range(15):
        alone.append(max(await honest_seconds(suite, None)))
        beside.append(max(await honest_seconds(suite, nasty)))
    assert np.median(beside) <= 2 * np.median(alone)
