from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given
from tests.fixtures.movies import id_array

from search_service.index.query import Filter, Query
from search_service.index.query_groups import (
    group_by_filter,
    group_by_search,
    select_hits,
    shared_limit,
)

RANKED = st.lists(st.integers(1, 60), unique=True, max_size=60)
QUERY = st.builds(
    Query,
    top_k=st.integers(1, 20),
    excluded=st.frozensets(st.integers(1, 60), max_size=20).map(id_array),
)


def test_queries_with_the_same_filter_are_grouped() -> None:
    queries = [Query(1), Query(2, Filter(min_year=1990)), Query(3), Query(4, Filter(min_year=1990))]
    assert group_by_filter(queries) == {Filter(): [0, 2], Filter(min_year=1990): [1, 3]}


def test_a_query_that_leaves_out_many_shares_no_search_with_one_that_leaves_out_few() -> None:
    def leaving_out(count: int) -> Query:
        return Query(1, excluded=id_array(range(1, count + 1)))

    few, more, many = leaving_out(255), leaving_out(256), leaving_out(10_000)
    new = Query(1, Filter(min_year=1990))
    groups = group_by_search([many, few, new, Query(2), many, more, leaving_out(511)])
    assert groups == [
        (Filter(), [0, 4]),
        (Filter(), [1, 3]),
        (new.filter, [2]),
        (Filter(), [5, 6]),
    ]


@given(RANKED, st.lists(QUERY, min_size=1))
def test_the_shared_limit_is_enough_for_every_row(ranked: list[int], queries: list[Query]) -> None:
    shared = ranked[: shared_limit(queries)]
    scores = [-float(place) for place in range(len(shared))]
    for query in queries:
        wanted = [i for i in ranked if i not in query.excluded][: query.top_k]
        assert [i for i, _ in select_hits(shared, scores, query)] == wanted


def test_ties_are_cut_by_id() -> None:
    assert select_hits([9, 3, 5], [1.0, 1.0, 1.0], Query(2)) == [(3, 1.0), (5, 1.0)]
