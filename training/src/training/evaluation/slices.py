"""Slices of the test users: which users, and what a model is told about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from fusion.records import User
from training.evaluation.interface import Audience, Rows
from training.evaluation.splits import Split

SHOWN_LIKES = (1, 3, 10)
"""How many likes of a user are shown in the slices of short histories."""
_QUARTER = 0.25


@dataclass(frozen=True)
class Slice:
    """Some test users, described to a model in one way."""

    name: str
    users: Rows
    """Rows of the users in the split, ascending."""
    audience: Callable[[Rows], Audience]
    """Describes some of them."""


def slices(split: Split, seed: int) -> list[Slice]:
    """Return the slices of a split; those without users are left out.

    `all` has the users with a history, by all that is known; `heavy` and `light` are its quarters
    with the longest and the shortest histories. In `history_only`, `demographics_only` and
    `nothing_known` the same users are known by that alone, in `likes_1`, `likes_3` and `likes_10`
    by demographics and that many likes, drawn at random. `new_users` have no history, and are known
    by demographics.

    Args:
        split: The split.
        seed: Determines which likes are shown.
    """
    tested = split.test.getnnz(axis=1) > 0
    length = split.train.getnnz(axis=1)
    known = np.flatnonzero(tested & (length > 0))
    low, high = np.quantile(length[known], [_QUARTER, 1 - _QUARTER]) if len(known) else (0, 0)
    nothing = csr_matrix(split.train.shape, dtype=np.float32)

    def described(by: Callable[[User], User], histories: csr_matrix) -> Callable[[Rows], Audience]:
        def audience(rows: Rows) -> Audience:
            return Audience(tuple(by(split.users[row]) for row in rows), histories[rows])

        return audience

    everything = described(lambda user: user, split.train)
    found = [
        Slice("all", known, everything),
        Slice("heavy", known[length[known] >= high], everything),
        Slice("light", known[length[known] <= low], everything),
        Slice("history_only", known, described(lambda _: User(), split.train)),
        Slice("demographics_only", known, described(_anonymous, nothing)),
        Slice("nothing_known", known, described(lambda _: User(), nothing)),
        *(
            Slice(f"likes_{count}", known, described(_anonymous, _some(split.train, count, seed)))
            for count in SHOWN_LIKES
        ),
        Slice("new_users", np.flatnonzero(tested & (length == 0)), described(_anonymous, nothing)),
    ]
    return [each for each in found if len(each.users)]


def _anonymous(user: User) -> User:
    return user._replace(user_id=None)


def _some(ratings: csr_matrix, count: int, seed: int) -> csr_matrix:
    """Return at most `count` ratings of each user, at random; more of them include fewer."""
    user = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    order = np.lexsort((np.random.default_rng(seed).random(ratings.nnz), user))
    kept = order[np.arange(ratings.nnz) - ratings.indptr[user] < count]
    return csr_matrix(
        (ratings.data[kept], (user[kept], ratings.indices[kept])), shape=ratings.shape
    )
