"""Diversity of Recommend and SimilarMovies, over real services in this process."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from tests.fixtures.suite import Suite
from tests.inprocess.gateway.conftest import refused_fields

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from search_service.index.diversity import marginal_order

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS = {
    "Recommend": {"user": {"user_id": 2}},
    "SimilarMovies": {"liked_movie_ids": [7], "disliked_movie_ids": [8]},
}


async def call(suite: Suite, method: str, **fields: object) -> Any:
    request = getattr(pb, f"{method}Request")(**(REQUESTS[method] | fields))
    return await getattr(suite.recommender, method)(request, timeout=10)


def listed(response: Any) -> list[tuple[int, float]]:
    """Return the ids of a list, with scores or similarities."""
    if isinstance(response, pb.RecommendResponse):
        return [(each.movie.movie_id, each.score) for each in response.recommendations]
    return [(each.movie.movie_id, each.similarity) for each in response.movies]


def ids(response: Any) -> list[int]:
    return [movie_id for movie_id, _ in listed(response)]


async def cosines(suite: Suite, movie_ids: list[int]) -> np.ndarray:
    """Return the cosines of movies with each other."""
    found = np.eye(len(movie_ids), dtype=np.float32)
    for row, movie_id in enumerate(movie_ids):
        response = await suite.recommender.SimilarMovies(
            pb.SimilarMoviesRequest(liked_movie_ids=[movie_id], page_size=100)
        )
        for other, cosine in listed(response):
            if other in movie_ids:
                found[row, movie_ids.index(other)] = cosine
    return found


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("diversity", [0.3, 1.0])
async def test_the_list_has_the_same_movies_and_scores_in_the_order_of_marginal_relevance(
    suite: Suite, method: str, diversity: float
) -> None:
    plain = await call(suite, method, page_size=100)
    diverse = await call(suite, method, page_size=100, diversity=diversity)
    assert dict(listed(diverse)) == pytest.approx(dict(listed(plain)), abs=1e-5)
    assert ids(diverse) != ids(plain)
    assert ids(diverse)[0] == ids(plain)[0]
    # Rows of a square root of the cosines are vectors that have them.
    matrix = await cosines(suite, ids(plain))
    values, base = np.linalg.eigh(matrix.astype(np.float64))
    vectors = (base * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    scale = 5 if method == "Recommend" else 1
    similarities = np.array([score for _, score in listed(plain)], np.float32) / scale
    order = marginal_order(similarities, vectors, diversity, len(vectors))
    expected = [ids(plain)[place] for place in order]
    assert ids(diverse)[:10] == expected[:10]


@pytest.mark.parametrize("method", REQUESTS)
async def test_no_diversity_is_the_plain_list(suite: Suite, method: str) -> None:
    plain = await call(suite, method, page_size=100)
    assert listed(await call(suite, method, page_size=100, diversity=0)) == listed(plain)


@pytest.mark.parametrize("method", REQUESTS)
async def test_pages_continue_each_other(suite: Suite, method: str) -> None:
    whole = await call(suite, method, page_size=100, diversity=0.5)
    found, token = [], ""
    while True:
        page = await call(suite, method, page_size=7, diversity=0.5, page_token=token)
        found += ids(page)
        token = page.next_page_token
        if not token:
            break
    assert found == ids(whole)


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_token_belongs_to_its_diversity(suite: Suite, method: str) -> None:
    token = (await call(suite, method, diversity=0.5)).next_page_token
    for other in (0, 0.4):
        assert await refused_fields(call(suite, method, diversity=other, page_token=token)) == [
            "page_token"
        ]


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("diversity", [-0.1, 1.01, float("nan"), float("inf")])
async def test_diversity_out_of_range_is_refused(
    suite: Suite, method: str, diversity: float
) -> None:
    assert await refused_fields(call(suite, method, diversity=diversity)) == ["diversity"]


async def test_queries_of_one_request_have_their_own_diversity(suite: Suite) -> None:
    queries = [
        search_pb2.MovieQuery(top_k=5, liked_movie_ids=[movie], diversity=diversity)
        for movie, diversity in [(1, 0.7), (999_999, 0.7), (1, 0), (2, 0.7), (2, 3)]
    ]
    request = search_pb2.SearchMoviesRequest(queries=queries, return_partial_success=True)
    response = await suite.searcher.SearchMovies(request)
    assert [row.row for row in response.refused_queries] == [1, 4]
    found = [[hit.movie.movie_id for hit in result.hits] for result in response.results]
    alone = []
    for movie, diversity in [(1, 0.7), (1, 0), (2, 0.7)]:
        similar = pb.SimilarMoviesRequest(liked_movie_ids=[movie], diversity=diversity, page_size=5)
        alone.append(ids(await suite.recommender.SimilarMovies(similar)))
    assert found == alone
    del request.queries[1:4]
    request.return_partial_success = False
    with pytest.raises(grpc.aio.AioRpcError):
        await suite.searcher.SearchMovies(request)
