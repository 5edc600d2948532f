"""What a request is said to add to a message is at least what it does."""

from __future__ import annotations

import pytest

from gateway.message_sizes import MAX_HIT_BYTES, share_of_messages
from gateway.settings import GatewaySettings
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import MAX_DESCRIPTION_BYTES, MAX_FIELD_BYTES, MAX_VIOLATIONS
from rpckit.field_limits import limits_of

GENRES = limits_of(index_pb2.CreateIndexRequest, "genres")
FILTER_GENRES = limits_of(search_pb2.MovieFilter, "genres")
HISTORY = limits_of(types_pb2.User, "liked_movie_ids")
EXCLUDED_IDS = limits_of(recommender_pb2.RecommendRequest, "exclude_movie_ids")
PAGE_SIZE = limits_of(recommender_pb2.RecommendRequest, "page_size")


def test_no_hit_is_larger_than_it_is_said_to_be() -> None:
    movie = types_pb2.Movie(
        movie_id=2**63 - 1,
        title="x" * limits_of(types_pb2.Movie, "title").bytes.max,
        year=2**32 - 1,
        genres=["x" * GENRES.bytes.max] * GENRES.items.max,
    )
    hits = search_pb2.MovieHits(hits=[search_pb2.MovieHit(movie=movie, similarity=1)])
    assert 0.9 * MAX_HIT_BYTES < hits.ByteSize() <= MAX_HIT_BYTES


def test_what_a_row_is_refused_for_takes_less_than_a_hit() -> None:
    violation = {"field": "x" * MAX_FIELD_BYTES, "description": "x" * MAX_DESCRIPTION_BYTES}
    refused = types_pb2.RefusedRow(row=2**32 - 1, violations=[violation] * MAX_VIOLATIONS)
    response = search_pb2.SearchMoviesResponse(refused_queries=[refused])
    assert response.ByteSize() < MAX_HIT_BYTES


@pytest.mark.parametrize(
    ("query", "vector_bytes", "least"),
    [
        (search_pb2.MovieQuery(top_k=1), 2**20, 2**20),
        (search_pb2.MovieQuery(top_k=1000), 128, 1000 * MAX_HIT_BYTES),
        (search_pb2.MovieQuery(top_k=1, exclude_movie_ids=[2**62] * 1000), 128, 9000),
    ],
    ids=["vector", "hits", "query"],
)
def test_the_largest_part_counts(
    query: search_pb2.MovieQuery, vector_bytes: int, least: int
) -> None:
    share = share_of_messages(types_pb2.User(), query, vector_bytes)
    assert least <= share <= 1.1 * least


def test_ordinary_requests_fill_a_batch_by_their_number_before_their_size() -> None:
    settings = GatewaySettings()
    query = search_pb2.MovieQuery(top_k=PAGE_SIZE.default + 1)
    share = share_of_messages(types_pb2.User(user_id=1), query, 4 * 1024)
    assert settings.max_batch * share < settings.search.max_message_bytes / 2


def test_the_largest_valid_request_is_taken() -> None:
    request = recommender_pb2.RecommendRequest(
        user=types_pb2.User(
            user_id=2**63 - 1,
            gender=types_pb2.GENDER_MALE,
            age=120,
            occupation=20,
            liked_movie_ids=[2**35 - 1] * HISTORY.items.max,  # larger ids take more bytes
        ),
        page_size=100,
        page_token="x" * 128,
        filter={"genres": ["x" * 64] * FILTER_GENRES.items.max, "min_year": 1870, "max_year": 2200},
        exclude_movie_ids=[2**35 - 1] * EXCLUDED_IDS.items.max,
    )
    largest = GatewaySettings().max_receive_message_bytes
    assert request.ByteSize() <= largest
    request.exclude_movie_ids[:] = [2**42 - 1] * EXCLUDED_IDS.items.max
    assert request.ByteSize() > largest
