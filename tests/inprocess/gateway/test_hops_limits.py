"""What a hop allows bounds batches, not callers: none fails for what others ask beside him."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.suite import Suite, running

from fusion.bundle import Bundle
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.type.v1 import types_pb2

CALLERS = 63
"""With one more, as many as the gateway admits."""
MOVIES = 1000
KIB = 1 << 10


async def recommend_to_all(suite: Suite, request: pb.RecommendRequest) -> list[int]:
    """Let all callers send a request at once; return the length of each one's page."""
    calls = [suite.recommender.Recommend(request, timeout=20) for _ in range(CALLERS)]
    return [len(answer.recommendations) for answer in await asyncio.gather(*calls)]


async def test_an_embedder_that_takes_fewer_rows_than_the_gateways_batch_fails_nobody(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    async with running(tiny_bundle, tmp_path, of_embedder={"max_batch": 8}) as suite:
        for _ in range(3):
            pages = await recommend_to_all(suite, pb.RecommendRequest(user={"age": 25}))
            assert pages == [10] * CALLERS


@pytest.mark.parametrize("limit", ["max_receive_message_bytes", "max_send_message_bytes"])
async def test_a_search_service_that_takes_smaller_messages_fails_nobody(
    tiny_bundle: Bundle, tmp_path: Path, limit: str
) -> None:
    async with running(tiny_bundle, tmp_path, of_search={limit: 24 * KIB}) as suite:
        request = pb.RecommendRequest(
            user={"age": 25}, page_size=40, exclude_movie_ids=range(10**6, 10**6 + 1000)
        )
        assert await recommend_to_all(suite, request) == [40] * CALLERS


async def test_deep_pages_of_movies_with_long_titles_are_answered_at_the_same_time(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    genres = tiny_bundle.encoder.vocabularies.genre.values
    movies = [
        types_pb2.Movie(movie_id=movie, title=f"{movie:0512}", year=1999, genres=genres)
        for movie in range(1, MOVIES + 1)
    ]
    async with running(tiny_bundle, tmp_path, movies) as suite:
        page = pb.RecommendRequest(user={"age": 25}, page_size=100)
        while len((answer := await suite.recommender.Recommend(page)).next_page_token):
            page.page_token = answer.next_page_token
        assert answer.recommendations[-1].rank == MOVIES
        assert await recommend_to_all(suite, page) == [100] * CALLERS


async def test_what_is_too_large_for_a_hop_alone_is_refused_alone_by_a_reason_of_its_own(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    of_search = {"max_receive_message_bytes": 3 * KIB}
    async with running(tiny_bundle, tmp_path, of_search=of_search) as suite:
        excluded = range(10**7, 10**7 + 1000)
        large = pb.RecommendRequest(user={"age": 25}, exclude_movie_ids=excluded)
        refused = suite.recommender.Recommend(large, timeout=10)
        pages = await recommend_to_all(suite, pb.RecommendRequest(user={"age": 25}))
        assert pages == [10] * CALLERS
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await refused
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    assert info.reason == "MESSAGE_TOO_LARGE"
