"""SimilarMovies: the movies most like given ones, over real services in this process."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.fixtures.suite import Suite
from tests.inprocess.gateway.conftest import refused_fields

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def similar(suite: Suite, **request: object) -> pb.SimilarMoviesResponse:
    return await suite.recommender.SimilarMovies(pb.SimilarMoviesRequest(**request), timeout=10)


def ids(response: pb.SimilarMoviesResponse) -> list[int]:
    return [each.movie.movie_id for each in response.movies]


async def test_a_list_is_ranked_and_says_where_it_comes_from(suite: Suite) -> None:
    response = await similar(suite, liked_movie_ids=[7])
    assert [each.rank for each in response.movies] == list(range(1, 11))
    similarities = [each.similarity for each in response.movies]
    assert similarities == sorted(similarities, reverse=True)
    assert all(-1.001 <= each <= 1.001 for each in similarities)
    best = response.movies[0].movie
    assert best == suite.movies[best.movie_id - 1]
    index = (await suite.searcher.GetIndex(search_pb2.GetIndexRequest())).index
    assert (response.model_version, response.index) == (index.model_version, "movies")
    assert response.timings.total_us >= response.timings.search_us > response.timings.embed_us == 0


async def test_given_movies_are_never_in_the_list(suite: Suite) -> None:
    response = await similar(suite, liked_movie_ids=[7, 8], disliked_movie_ids=[9], page_size=100)
    assert set(ids(response)) == set(range(1, 51)) - {7, 8, 9}


async def test_likes_and_dislikes_move_the_list(suite: Suite) -> None:
    one = ids(await similar(suite, liked_movie_ids=[7], page_size=100))
    other = ids(await similar(suite, liked_movie_ids=[7, 20], page_size=100))
    away = ids(await similar(suite, liked_movie_ids=[7], disliked_movie_ids=[20], page_size=100))
    assert [i for i in one if i != 20] not in (other, away)
    assert other != away


async def test_a_disliked_movie_pushes_what_is_like_it_away(suite: Suite) -> None:
    near = ids(await similar(suite, liked_movie_ids=[7]))[0]
    alike = await similar(suite, liked_movie_ids=[near], page_size=100, exclude_movie_ids=[7])
    (nearest, *_, farthest) = ids(alike)

    def places(response: pb.SimilarMoviesResponse) -> int:
        found = ids(response)
        return found.index(nearest) - found.index(farthest)

    before = await similar(suite, liked_movie_ids=[7], exclude_movie_ids=[near], page_size=100)
    after = await similar(suite, liked_movie_ids=[7], disliked_movie_ids=[near], page_size=100)
    assert places(after) >= places(before)
    scores = {each.movie.movie_id: each.similarity for each in before.movies}
    lowered = {each.movie.movie_id: each.similarity for each in after.movies}
    assert scores[nearest] - lowered[nearest] > scores[farthest] - lowered[farthest]


async def test_pages_continue_each_other_to_the_end(suite: Suite) -> None:
    given = {"liked_movie_ids": [3], "disliked_movie_ids": [4]}
    whole = await similar(suite, **given, page_size=100)
    assert (len(whole.movies), whole.next_page_token) == (48, "")
    pages, token = [], ""
    while True:
        page = await similar(suite, **given, page_size=20, page_token=token)
        pages.append(page)
        token = page.next_page_token
        if not token:
            break
    assert [each.rank for page in pages for each in page.movies] == list(range(1, 49))
    assert [movie for page in pages for movie in ids(page)] == ids(whole)


async def test_filter_and_exclusions_are_honoured(suite: Suite) -> None:
    response = await similar(
        suite,
        liked_movie_ids=[30],
        filter={"min_year": 1975},
        exclude_movie_ids=[25, 26],
        page_size=100,
    )
    assert set(ids(response)) == set(range(27, 51)) - {30}


async def test_unknown_movies_are_ignored_and_named(suite: Suite) -> None:
    expected = await similar(suite, liked_movie_ids=[7])
    response = await similar(suite, liked_movie_ids=[99_999, 7], disliked_movie_ids=[88_888])
    assert ids(response) == ids(expected)
    assert response.unknown_movie_ids == [88_888, 99_999]
    assert not expected.unknown_movie_ids


async def test_callers_that_share_a_batch_get_their_own_list(suite: Suite) -> None:
    alone = [ids(await similar(suite, liked_movie_ids=[each])) for each in range(1, 31)]
    answers = await asyncio.gather(
        *(similar(suite, liked_movie_ids=[each]) for each in range(1, 31)),
        similar(suite, liked_movie_ids=[999_999]),
        suite.recommender.Recommend(pb.RecommendRequest()),
        return_exceptions=True,
    )
    assert [ids(answer) for answer in answers[:30]] == alone
    assert isinstance(answers[30], Exception)
    assert len(answers[31].recommendations) == 10


async def test_the_similarity_is_the_cosine_with_the_sum_of_the_given_vectors(
    suite: Suite,
) -> None:
    """One liked movie and the other way round have one cosine; two are halfway between."""

    async def cosine(liked: list[int], other: int) -> float:
        response = await similar(suite, liked_movie_ids=liked, page_size=100)
        return next(each.similarity for each in response.movies if each.movie.movie_id == other)

    assert await cosine([3], 5) == pytest.approx(await cosine([5], 3), abs=1e-5)
    together = (await cosine([3], 9) + await cosine([5], 9)) / np.sqrt(2 + 2 * await cosine([3], 5))
    assert await cosine([3, 5], 9) == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        ({}, ["liked_movie_ids"]),
        ({"disliked_movie_ids": [1]}, ["liked_movie_ids"]),
        ({"liked_movie_ids": [0]}, ["liked_movie_ids[0]"]),
        ({"liked_movie_ids": [1, 2, 1]}, ["liked_movie_ids[2]"]),
        ({"liked_movie_ids": range(1, 102)}, ["liked_movie_ids"]),
        ({"liked_movie_ids": [999_999]}, ["liked_movie_ids"]),
        ({"liked_movie_ids": [999_999], "disliked_movie_ids": [1]}, ["liked_movie_ids"]),
        ({"liked_movie_ids": [1], "disliked_movie_ids": [2, -1]}, ["disliked_movie_ids[1]"]),
        ({"liked_movie_ids": [1], "disliked_movie_ids": [2, 2]}, ["disliked_movie_ids[1]"]),
        ({"liked_movie_ids": [1], "disliked_movie_ids": [2, 1]}, ["disliked_movie_ids[1]"]),
        ({"liked_movie_ids": [1], "disliked_movie_ids": range(2, 103)}, ["disliked_movie_ids"]),
        ({"liked_movie_ids": [1], "filter": {"genres": ["Nope"]}}, ["filter.genres[0]"]),
        ({"liked_movie_ids": [1], "exclude_movie_ids": [0]}, ["exclude_movie_ids[0]"]),
        ({"liked_movie_ids": [1], "exclude_movie_ids": [1] * 10_001}, ["exclude_movie_ids"]),
        ({"liked_movie_ids": [1], "page_size": 101}, ["page_size"]),
        ({"liked_movie_ids": [1], "page_size": 0}, ["page_size"]),
        ({"liked_movie_ids": [1], "page_token": "made up"}, ["page_token"]),
    ],
    ids=lambda value: str(value)[:70],
)
async def test_a_bad_field_is_refused_by_its_name(
    suite: Suite, request_: dict[str, object], fields: list[str]
) -> None:
    assert await refused_fields(similar(suite, **request_)) == fields


async def test_a_token_of_another_list_is_refused(suite: Suite) -> None:
    token = (await similar(suite, liked_movie_ids=[1])).next_page_token
    others = [
        {"liked_movie_ids": [2]},
        {"liked_movie_ids": [1], "disliked_movie_ids": [2]},
        {"liked_movie_ids": [1], "filter": {"min_year": 1960}},
        {"liked_movie_ids": [1], "exclude_movie_ids": [5]},
    ]
    for other in others:
        refused = await refused_fields(similar(suite, **other, page_token=token))
        assert refused == ["page_token"]
    recommend = suite.recommender.Recommend(pb.RecommendRequest(page_token=token), timeout=10)
    assert await refused_fields(recommend) == ["page_token"]
    assert ids(await similar(suite, liked_movie_ids=[1], page_size=3, page_token=token))
