from __future__ import annotations

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.fixtures.movies import GENRES, spec

from rpckit.errors import InvalidRequestError
from search_service.index.query import Filter
from search_service.store.filter_expressions import filter_expression, ids_above, ids_in

YEARS = st.none() | st.integers(0, 3000)
IDS = st.none() | st.frozensets(st.integers(1, 2**63 - 1))
TERM = r"(genre_\d+ == true|year (>=|<=|>) \d+|id in \[\d*(, \d+)*\])"
GRAMMAR = re.compile(rf"\({TERM}( or {TERM})*\)( and {TERM})*|{TERM}( and {TERM})*|")


@pytest.mark.parametrize(
    ("wanted", "expression"),
    [
        (Filter(), ""),
        (Filter(("Drama",)), "(genre_3 == true)"),
        (Filter(("Drama", "Action", "Drama")), "(genre_0 == true or genre_3 == true)"),
        (Filter(min_year=1990), "year >= 1990"),
        (Filter(max_year=1990), "year <= 1990 and year > 0"),
        (
            Filter(("Action",), 1990, 1999),
            "(genre_0 == true) and year >= 1990 and year <= 1999",
        ),
        (Filter(movie_ids=frozenset({9, 3})), "id in [3, 9]"),
        (Filter(min_year=1990, movie_ids=frozenset({9})), "year >= 1990 and id in [9]"),
    ],
)
def test_a_filter_becomes_an_expression(wanted: Filter, expression: str) -> None:
    assert filter_expression(wanted, spec()) == expression


@given(st.lists(st.sampled_from(GENRES) | st.text()), YEARS, YEARS, IDS)
def test_no_filter_leaves_the_grammar(
    genres: list[str],
    min_year: int | None,
    max_year: int | None,
    movie_ids: frozenset[int] | None,
) -> None:
    wanted = Filter(tuple(genres), min_year, max_year, movie_ids)
    if set(genres) <= set(GENRES):
        assert GRAMMAR.fullmatch(filter_expression(wanted, spec()))
    else:
        with pytest.raises(InvalidRequestError):
            filter_expression(wanted, spec())


def test_the_order_of_genres_makes_no_other_expression() -> None:
    one, other = Filter(("Drama", "Action")), Filter(("Action", "Drama"))
    assert filter_expression(one, spec()) == filter_expression(other, spec())


@pytest.mark.parametrize("movie_id", ["1] or id > 0 or id in [2", 1.5, None])
def test_only_numbers_become_ids(movie_id: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        ids_in([movie_id])  # type: ignore[list-item]
    with pytest.raises((TypeError, ValueError)):
        ids_above(movie_id)  # type: ignore[arg-type]


def test_ids_become_a_list() -> None:
    assert ids_in([3, 1]) == "id in [3, 1]"
    assert ids_above(7) == "id > 7"
