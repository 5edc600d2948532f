from __future__ import annotations

from dataclasses import replace

import pytest

from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import FieldViolation, InvalidRequestError
from rpckit.field_limits import NO_MAX, NO_MIN, Range, limits_of


def test_limits_are_those_that_the_contract_states() -> None:
    ids = limits_of(search_pb2.GetMoviesRequest, "movie_ids")
    assert (ids.value.min, ids.value.max) == (1, NO_MAX)
    assert (ids.items.min, ids.items.max) == (1, 1000)
    assert (ids.bytes.min, ids.bytes.max) == (NO_MIN, NO_MAX)
    assert limits_of(recommender_pb2.RecommendRequest, "page_size").default == 10


@pytest.mark.parametrize(
    ("number", "inside"), [(0, False), (1, True), (1000, True), (1001, False), (-5, False)]
)
def test_both_ends_of_a_range_are_inside(number: int, inside: bool) -> None:
    assert (number in limits_of(search_pb2.MovieQuery, "top_k").value) is inside


@pytest.mark.parametrize("number", [NO_MIN, -1, 0, NO_MAX])
def test_what_the_contract_leaves_open_has_no_end(number: int) -> None:
    assert number in limits_of(types_pb2.Movie, "title").value


@pytest.mark.parametrize(
    ("range_", "text"),
    [
        (limits_of(search_pb2.MovieQuery, "top_k").value, "must be 1 to 1000, not -7"),
        (limits_of(types_pb2.Movie, "movie_id").value, "must be 1 or more, not -7"),
        (limits_of(types_pb2.User, "occupation").value, "must be 0 to 20, not -7"),
        (limits_of(search_pb2.SearchMoviesRequest, "queries").items, "must have 1 to 1024, not -7"),
        (limits_of(types_pb2.Movie, "genres").items, "must have at most 64, not -7"),
        (limits_of(types_pb2.Movie, "title").bytes, "must have at most 512 bytes"),
        (limits_of(index_pb2.CreateIndexRequest, "genres").bytes, "must have 1 to 64 bytes"),
        (replace(Range(1870, 2200), min=1990), "must be 1990 to 2200, not -7"),
    ],
    ids=str,
)
def test_a_refusal_says_what_would_be_right(range_: Range, text: str) -> None:
    assert range_.violation("a[0].b", -7) == FieldViolation("a[0].b", text)


def test_a_check_refuses_what_is_outside_and_nothing_else() -> None:
    size = limits_of(recommender_pb2.RecommendRequest, "page_size").value
    size.check("page_size", 100)
    with pytest.raises(InvalidRequestError, match=r"page_size: must be 1 to 100, not 101"):
        size.check("page_size", 101)


def test_a_refusal_names_what_else_is_allowed() -> None:
    violation = Range(1870, 2200).violation("year", 1, alternative="0 for unknown")
    assert violation.description == "must be 1870 to 2200, or 0 for unknown, not 1"


def test_a_field_without_limits_is_an_error_of_the_programmer() -> None:
    with pytest.raises(LookupError, match=r"marquee\.search\.v1\.MovieQuery\.filter has no limits"):
        limits_of(search_pb2.MovieQuery, "filter")
    with pytest.raises(LookupError):
        limits_of(search_pb2.MovieQuery, "no_such_field")
