"""The gateway over a real embedder and a real search service, all in this process."""

from __future__ import annotations

import struct

import grpc
import pytest
from tests.fixtures.bundle import USERS
from tests.fixtures.suite import YEARS, Suite
from tests.inprocess.gateway.conftest import refused_fields

from fusion.bundle import Bundle
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


def ids(response: pb.RecommendResponse) -> list[int]:
    return [each.movie.movie_id for each in response.recommendations]


async def refused(suite: Suite, **request: object) -> list[str]:
    return await refused_fields(
        suite.recommender.Recommend(pb.RecommendRequest(**request), timeout=10)
    )


async def recommend(suite: Suite, **request: object) -> pb.RecommendResponse:
    return await suite.recommender.Recommend(pb.RecommendRequest(**request), timeout=10)


async def test_a_list_is_ranked_scored_and_says_where_it_comes_from(
    suite: Suite, tiny_bundle: Bundle
) -> None:
    response = await recommend(suite, user={"user_id": 1})
    assert [each.rank for each in response.recommendations] == list(range(1, 11))
    scores = [each.score for each in response.recommendations]
    assert scores == sorted(scores, reverse=True)
    assert all(-5 <= score <= 5 for score in scores)
    assert len(set(ids(response))) == 10
    best = response.recommendations[0].movie
    assert best == suite.movies[best.movie_id - 1]
    assert (response.model_version, response.index) == (tiny_bundle.manifest.version, "movies")
    assert response.timings.total_us >= response.timings.embed_us + response.timings.search_us > 0


@pytest.mark.parametrize(
    ("user", "status"),
    [
        ({}, pb.USER_ID_STATUS_ABSENT),
        ({"age": 25, "gender": types_pb2.GENDER_MALE, "occupation": 4}, pb.USER_ID_STATUS_ABSENT),
        ({"user_id": 1}, pb.USER_ID_STATUS_KNOWN),
        ({"user_id": 1, "age": 25}, pb.USER_ID_STATUS_KNOWN),
        ({"user_id": USERS + 1}, pb.USER_ID_STATUS_UNKNOWN),
    ],
    ids=str,
)
async def test_ancestor_3_every_kind_of_user_gets_a_list_and_is_told_what_it_rests_on(
    suite: Suite, user: dict[str, int], status: int
) -> None:
    response = await recommend(suite, user=user)
    assert len(response.recommendations) == 10
    assert response.user_id_status == status


async def test_the_answer_says_what_a_score_is_and_which_of_the_history_is_not_known(
    suite: Suite,
) -> None:
    history = {"liked_movie_ids": [3, 1], "disliked_movie_ids": [2]}
    response = await recommend(suite, user=history)
    assert response.score_kind == types_pb2.SCORE_KIND_PREDICTED_RATING
    assert list(response.ignored_movie_ids) == [3, 1, 2]  # this model takes no histories
    assert ids(response) == ids(await recommend(suite))
    assert not (await recommend(suite, user={"age": 25})).ignored_movie_ids


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"liked_movie_ids": [0]}, "user.liked_movie_ids[0]"),
        ({"disliked_movie_ids": [1, -1]}, "user.disliked_movie_ids[1]"),
        ({"liked_movie_ids": [5], "disliked_movie_ids": [5]}, "user.disliked_movie_ids"),
        ({"liked_movie_ids": range(1, 502)}, "user.liked_movie_ids"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_bad_history_is_refused_by_the_name_of_its_field(
    suite: Suite, user: dict[str, object], field: str
) -> None:
    assert await refused(suite, user=user) == [field]


async def test_no_user_at_all_is_a_person_of_whom_nothing_is_known(suite: Suite) -> None:
    assert ids(await recommend(suite)) == ids(await recommend(suite, user={}))


@pytest.mark.parametrize(
    "known", [{"user_id": 3}, {"gender": 1}, {"age": 56}, {"occupation": 12}], ids=str
)
async def test_every_attribute_of_the_user_is_honoured(suite: Suite, known: dict[str, int]) -> None:
    def scores(response: pb.RecommendResponse) -> dict[int, float]:
        return {each.movie.movie_id: each.score for each in response.recommendations}

    everything = {"page_size": 50}
    anybody = scores(await recommend(suite, **everything))
    assert scores(await recommend(suite, user=known, **everything)) != anybody


@pytest.mark.parametrize("size", [1, 7, 50, 100])
async def test_page_size_is_honoured(suite: Suite, size: int) -> None:
    assert len((await recommend(suite, page_size=size)).recommendations) == min(size, 50)


@pytest.mark.parametrize("size", [0, 101, 10_000])
async def test_page_size_out_of_range_is_refused(suite: Suite, size: int) -> None:
    assert await refused(suite, page_size=size) == ["page_size"]


async def test_pages_continue_each_other_to_the_end(suite: Suite) -> None:
    whole = await recommend(suite, user={"user_id": 2}, page_size=100)
    assert whole.next_page_token == ""
    pages, token = [], ""
    while True:
        page = await recommend(suite, user={"user_id": 2}, page_size=20, page_token=token)
        pages.append(page)
        token = page.next_page_token
        if not token:
            break
    assert [len(page.recommendations) for page in pages] == [20, 20, 10]
    assert [each.rank for page in pages for each in page.recommendations] == list(range(1, 51))
    assert [movie for page in pages for movie in ids(page)] == ids(whole)


async def test_a_foreign_page_token_is_refused(suite: Suite) -> None:
    token = (await recommend(suite, user={"user_id": 2})).next_page_token
    assert await refused(suite, user={"user_id": 3}, page_token=token) == ["page_token"]
    assert await refused(suite, page_token="made up") == ["page_token"]


async def test_a_token_of_another_index_is_refused(suite: Suite, tiny_bundle: Bundle) -> None:
    token = (await recommend(suite)).next_page_token
    vectors = types_pb2.Vectors(
        dimension=8,
        data=struct.pack("<8f", 1, *[0] * 7),
        model_version=tiny_bundle.manifest.version,
    )
    await suite.index.CreateIndex(
        index_pb2.CreateIndexRequest(
            name="other",
            model_version=tiny_bundle.manifest.version,
            dimension=8,
            genres=tiny_bundle.encoder.vocabularies.genre.values,
        )
    )
    await suite.index.UpsertMovies(
        index_pb2.UpsertMoviesRequest(index="other", movies=suite.movies[:1], vectors=vectors)
    )
    await suite.index.ActivateIndex(index_pb2.ActivateIndexRequest(index="other"))
    try:
        assert await refused(suite, page_token=token) == ["page_token"]
        assert (await recommend(suite)).index == "other"
    finally:
        await suite.index.ActivateIndex(index_pb2.ActivateIndexRequest(index="movies"))
    assert (await recommend(suite, page_token=token)).index == "movies"


async def test_filters_are_honoured(suite: Suite) -> None:
    genre = suite.movies[0].genres[0]
    response = await recommend(
        suite, page_size=50, filter={"genres": [genre], "min_year": 1960, "max_year": 1990}
    )
    expected = {
        movie.movie_id
        for movie in suite.movies
        if genre in movie.genres and 1960 <= movie.year <= 1990
    }
    assert expected
    assert set(ids(response)) == expected


@pytest.mark.parametrize("bound", ["min_year", "max_year"])
async def test_each_year_bound_is_honoured_alone(suite: Suite, bound: str) -> None:
    response = await recommend(suite, page_size=50, filter={bound: 1975})
    expected = {
        movie
        for movie, year in YEARS.items()
        if (year >= 1975 if bound == "min_year" else year <= 1975)
    }
    assert set(ids(response)) == expected


async def test_excluded_movies_are_not_recommended_and_unknown_ones_are_ignored(
    suite: Suite,
) -> None:
    best = ids(await recommend(suite))
    response = await recommend(suite, exclude_movie_ids=[*best[:3], 999_999])
    assert ids(response)[:7] == best[3:]


async def test_ten_thousand_movies_can_be_excluded(suite: Suite) -> None:
    best = ids(await recommend(suite))
    many = range(10**6, 10**6 + 9_997)
    assert ids(await recommend(suite, exclude_movie_ids=[*many, *best[:3]]))[:7] == best[3:]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        ({"user": {"user_id": 0}}, ["user.user_id"]),
        ({"user": {"gender": 9}}, ["user.gender"]),
        ({"user": {"age": 0}}, ["user.age"]),
        ({"user": {"age": 121}}, ["user.age"]),
        ({"user": {"occupation": 21}}, ["user.occupation"]),
        ({"filter": {"genres": ["Nonsense"]}}, ["filter.genres[0]"]),
        ({"filter": {"min_year": 1869}}, ["filter.min_year"]),
        ({"filter": {"max_year": 2201}}, ["filter.max_year"]),
        ({"exclude_movie_ids": [1, 0]}, ["exclude_movie_ids[1]"]),
        ({"exclude_movie_ids": [1] * 10_001}, ["exclude_movie_ids"]),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_bad_field_is_refused_by_the_callers_own_name_for_it(
    suite: Suite, request_: dict[str, object], fields: list[str]
) -> None:
    assert await refused(suite, **request_) == fields


async def test_years_that_contradict_each_other_are_refused(suite: Suite) -> None:
    (field,) = await refused(suite, filter={"min_year": 1990, "max_year": 1980})
    assert field in ("filter.min_year", "filter.max_year")


async def test_without_an_active_index_the_caller_is_told_so(suite: Suite) -> None:
    found = await suite.searcher.GetIndex(search_pb2.GetIndexRequest())
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await suite.index.DeleteIndex(index_pb2.DeleteIndexRequest(index=found.index.name))
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
