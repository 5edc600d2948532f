from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.resident.row_finder import RowFinder

DENSE, SPARSE = st.integers(1, 40), st.integers(1, 2**63 - 1)
LISTS = st.lists(DENSE, unique=True) | st.lists(DENSE | SPARSE, unique=True)


@given(LISTS, LISTS)
def test_the_rows_of_the_ids_that_there_are_are_found(ids: list[int], wanted: list[int]) -> None:
    finder = RowFinder(np.array(ids, np.int64))
    wanted.sort()
    expected = [ids.index(movie_id) for movie_id in wanted if movie_id in ids]
    assert finder.rows(np.array(wanted, np.int64)).tolist() == expected


@pytest.mark.parametrize("greatest", [4000, 10**9])
def test_many_ids_are_found_in_both_kinds_of_catalogue(greatest: int) -> None:
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.append(np.arange(1, 3000), greatest))
    wanted = np.arange(0, 5000)
    expected = [np.flatnonzero(ids == movie_id)[0] for movie_id in wanted if movie_id in ids]
    assert RowFinder(ids).rows(wanted).tolist() == expected
