from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from search_service.index.query_groups import (
    group_by_filter,
    select_hits,
    shared_limit,
    split_by_demand,
)
from search_service.index.vector_index import Filter, Query

RANKED = st.lists(st.integers(1, 60), unique=True, max_size=60)
QUERY = st.builds(
    Query, top_k=st.integers(1, 20), excluded=st.frozensets(st.integers(1, 60), max_size=20)
)


def test_queries_with_the_same_filter_are_grouped() -> None:
    queries = [Query(1), Query(2, Filter(min_year=1990)), Query(3), Query(4, Filter(min_year=1990))]
    assert group_by_filter(queries) == {Filter(): [0, 2], Filter(min_year=1990): [1, 3]}


def test_a_query_that_leaves_out_thousands_is_searched_apart() -> None:
    thousands = np.arange(1, 5000)
    queries = [Query(10), Query(10, seen=thousands), Query(1000, seen=thousands[:1000]), Query(9)]
    assert split_by_demand(queries, [0, 1, 2, 3]) == [[0, 2, 3], [1]]
    assert split_by_demand(queries, [1, 3]) == [[1], [3]]
    assert shared_limit(queries[:2]) == 5009


@given(RANKED, st.lists(QUERY, min_size=1))
def test_the_shared_limit_is_enough_for_every_row(ranked: list[int], queries: list[Query]) -> None:
    shared = ranked[: shared_limit(queries)]
    scores = [-float(place) for place in range(len(shared))]
    for query in queries:
        wanted = [i for i in ranked if i not in query.excluded][: query.top_k]
        assert [i for i, _ in select_hits(shared, scores, query)] == wanted


def test_ties_are_cut_by_id() -> None:
    assert select_hits([9, 3, 5], [1.0, 1.0, 1.0], Query(2)) == [(3, 1.0), (5, 1.0)]
