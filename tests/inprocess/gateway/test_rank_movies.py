"""RankMovies: given movies ranked for one user, over real services in this process."""

from __future__ import annotations

import asyncio

import pytest
from tests.fixtures.bundle import USERS
from tests.fixtures.suite import Suite
from tests.inprocess.gateway.conftest import refused_fields

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.type.v1 import types_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def rank(suite: Suite, **request: object) -> pb.RankMoviesResponse:
    return await suite.recommender.RankMovies(pb.RankMoviesRequest(**request), timeout=10)


async def test_the_movies_come_in_the_order_and_with_the_scores_of_the_users_list(
    suite: Suite,
) -> None:
    user, wanted = {"user_id": 2}, [41, 7, 50, 23, 1]
    whole = await suite.recommender.Recommend(pb.RecommendRequest(user=user, page_size=100))
    response = await rank(suite, user=user, movie_ids=wanted)
    expected = [each for each in whole.recommendations if each.movie.movie_id in wanted]
    assert [each.movie for each in response.recommendations] == [each.movie for each in expected]
    assert [each.score for each in response.recommendations] == pytest.approx(
        [each.score for each in expected], abs=1e-5
    )
    assert [each.rank for each in response.recommendations] == [1, 2, 3, 4, 5]
    assert (response.model_version, response.index) == (whole.model_version, whole.index)
    assert response.timings.total_us >= response.timings.embed_us + response.timings.search_us > 0


async def test_ids_that_the_index_lacks_are_listed_and_the_others_ranked(suite: Suite) -> None:
    response = await rank(suite, movie_ids=[999_999, 3, 2**63 - 1, 77_777])
    assert [each.movie.movie_id for each in response.recommendations] == [3]
    assert response.unknown_movie_ids == [77_777, 999_999, 2**63 - 1]


async def test_only_unknown_movies_make_an_empty_list(suite: Suite) -> None:
    response = await rank(suite, movie_ids=[999_999])
    assert (len(response.recommendations), response.unknown_movie_ids) == (0, [999_999])


async def test_a_thousand_candidates_are_ranked(suite: Suite) -> None:
    response = await rank(suite, movie_ids=range(1, 1001))
    assert len(response.recommendations) == 50
    assert response.unknown_movie_ids == list(range(51, 1001))


async def test_callers_that_share_a_batch_get_their_own_candidates(suite: Suite) -> None:
    wanted = [[each, each + 1, 1000 + each] for each in range(1, 40)]
    recommended, *ranked = await asyncio.gather(
        suite.recommender.Recommend(pb.RecommendRequest()),
        *(rank(suite, user={"user_id": 1}, movie_ids=movie_ids) for movie_ids in wanted),
    )
    assert len(recommended.recommendations) == 10
    for movie_ids, response in zip(wanted, ranked, strict=True):
        found = sorted(each.movie.movie_id for each in response.recommendations)
        assert (found, response.unknown_movie_ids) == (movie_ids[:2], movie_ids[2:])


async def test_the_answer_says_whether_it_used_the_users_id(suite: Suite) -> None:
    statuses = {
        USERS + 1: pb.USER_ID_STATUS_UNKNOWN,
        1: pb.USER_ID_STATUS_KNOWN,
        None: pb.USER_ID_STATUS_ABSENT,
    }
    for user_id, status in statuses.items():
        response = await rank(suite, user={"user_id": user_id}, movie_ids=[1])
        assert response.user_id_status == status


async def test_the_answer_says_what_a_score_is_and_which_of_the_history_is_not_known(
    suite: Suite,
) -> None:
    history = {"liked_movie_ids": [3, 1], "disliked_movie_ids": [2]}
    response = await rank(suite, user=history, movie_ids=[1, 3])
    assert response.score_kind == types_pb2.SCORE_KIND_PREDICTED_RATING
    assert list(response.ignored_movie_ids) == [3, 1, 2]  # this model takes no histories
    assert not (await rank(suite, user={"age": 25}, movie_ids=[1])).ignored_movie_ids


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        ({"movie_ids": []}, ["movie_ids"]),
        ({"movie_ids": range(1, 1002)}, ["movie_ids"]),
        ({"movie_ids": [1, 0]}, ["movie_ids[1]"]),
        ({"movie_ids": [1, 2, 1]}, ["movie_ids[2]"]),
        ({"movie_ids": [1], "user": {"age": 0}}, ["user.age"]),
        (
            {"movie_ids": [1], "user": {"liked_movie_ids": [5], "disliked_movie_ids": [5]}},
            ["user.disliked_movie_ids"],
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_bad_field_is_refused_by_its_name(
    suite: Suite, request_: dict[str, object], fields: list[str]
) -> None:
    assert await refused_fields(rank(suite, **request_)) == fields
