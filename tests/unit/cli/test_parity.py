from __future__ import annotations

import pytest

from fusion.records import User
from marquee_cli.parity import SCORE_TOLERANCE, TIE, compare, random_users

TRUTH = {10: 4.0, 20: 3.5, 30: 3.5 + TIE / 2, 40: 1.0}


@pytest.mark.parametrize(
    "served",
    [
        [(10, 4.0), (30, 3.5), (20, 3.5), (40, 1.0)],
        [(10, 4.0), (20, 3.5), (30, 3.5), (40, 1.0)],  # 20 and 30 are a tie
        [(10, 4.0 + SCORE_TOLERANCE / 2), (30, 3.5), (20, 3.5), (40, 1.0)],
    ],
)
def test_the_same_order_up_to_ties_is_parity(served: list[tuple[int, float]]) -> None:
    assert compare(served, TRUTH, depth=10).mismatch is None


@pytest.mark.parametrize(
    ("served", "why"),
    [
        ([(20, 3.5), (10, 4.0), (30, 3.5), (40, 1.0)], "rank 1 is movie 20, not 10"),
        ([(10, 4.0), (30, 3.5), (20, 3.5), (40, 1.001)], "movie 40 has score"),
        ([(10, 4.0), (30, 3.5), (20, 3.5)], "3 movies, not 4"),
        ([(10, 4.0), (10, 4.0), (20, 3.5), (40, 1.0)], "twice"),
        ([(10, 4.0), (30, 3.5), (20, 3.5), (50, 1.0)], "movie 50 is not in the catalogue"),
    ],
)
def test_anything_else_is_a_mismatch(served: list[tuple[int, float]], why: str) -> None:
    mismatch = compare(served, TRUTH, depth=10).mismatch
    assert mismatch is not None
    assert why in mismatch


def test_a_part_of_the_list_is_compared_with_a_part() -> None:
    assert compare([(10, 4.0), (30, 3.5)], TRUTH, depth=2).mismatch is None


def test_random_users_are_of_every_kind_and_the_same_for_a_seed() -> None:
    users = random_users([1, 2, 3], 200, seed=1)
    assert users == random_users([1, 2, 3], 200, seed=1)
    assert users != random_users([1, 2, 3], 200, seed=2)
    kinds = {tuple(getattr(u, f) is not None for f in User._fields[:4]) for u in users}
    assert {
        (True, False, False, False),
        (False, True, True, True),
        (True, True, True, True),
        (False, False, False, False),
    } <= kinds
