"""What one caller sends fails that caller alone, although requests travel in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.suite import Suite

from marquee.recommender.v1 import recommender_pb2 as pb
from rpckit.errors import MAX_VIOLATIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")

HONEST = 63
TRACEPARENT = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


async def beside_honest_callers(
    suite: Suite,
    request: pb.RecommendRequest,
    metadata: Sequence[tuple[str, str]] = (),
    honest: int = HONEST,
) -> pb.RecommendResponse | grpc.aio.AioRpcError:
    """Send a request in the middle of honest ones, all of which must be answered."""
    good = pb.RecommendRequest(user={"age": 25})
    calls = [suite.recommender.Recommend(good, timeout=10) for _ in range(honest // 2)]
    nasty = suite.recommender.Recommend(request, timeout=10, metadata=tuple(metadata))
    calls += [suite.recommender.Recommend(good, timeout=10) for _ in range(honest - len(calls))]
    answers = await asyncio.gather(*calls)
    assert [len(answer.recommendations) for answer in answers] == [10] * honest
    try:
        answer: pb.RecommendResponse = await nasty
    except grpc.aio.AioRpcError as error:
        return error
    return answer


def violations(error: object) -> list[str]:
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    return [violation.field for violation in bad.field_violations]


@pytest.mark.parametrize("count", [1, 80, 300, 1000])
async def test_any_number_of_bad_ids_is_refused_to_their_sender_alone(
    suite: Suite, count: int
) -> None:
    error = await beside_honest_callers(suite, pb.RecommendRequest(exclude_movie_ids=[0] * count))
    kept = min(count, MAX_VIOLATIONS)
    assert violations(error) == [f"exclude_movie_ids[{n}]" for n in range(kept)]


async def test_many_bad_requests_of_all_kinds_are_each_refused_for_their_own_fields(
    suite: Suite,
) -> None:
    kinds = {
        "user.age": pb.RecommendRequest(user={"age": 200}),
        "filter.genres[0]": pb.RecommendRequest(filter={"genres": ["Nonsense"]}),
        "filter.min_year": pb.RecommendRequest(filter={"min_year": 1}),
        "exclude_movie_ids[0]": pb.RecommendRequest(exclude_movie_ids=[0]),
    }
    fields = list(kinds) * 6
    answers = await asyncio.gather(
        *(beside_honest_callers(suite, kinds[field], honest=1) for field in fields)
    )
    assert [violations(answer) for answer in answers] == [[field] for field in fields]


async def test_a_very_long_value_is_refused_to_its_sender_alone(suite: Suite) -> None:
    request = pb.RecommendRequest(filter={"genres": ["\u1234" * 10_000, "x" * 20_000]})
    error = await beside_honest_callers(suite, request)
    assert violations(error) == ["filter.genres[0]", "filter.genres[1]"]


@pytest.mark.parametrize(
    "tracestate",
    ["a=" + "x" * 7_000, "no member", "a=b,=c", "a=b=c"],
    ids=["long", "no key", "empty key", "two values"],
)
async def test_an_invalid_tracestate_harms_nobody(suite: Suite, tracestate: str) -> None:
    metadata = [TRACEPARENT, ("tracestate", tracestate)]
    request = pb.RecommendRequest(user={"age": 25})
    answer = await beside_honest_callers(suite, request, metadata)
    assert isinstance(answer, pb.RecommendResponse), answer
    assert len(answer.recommendations) == 10
