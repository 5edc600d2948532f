"""Runs a ranker over the slices of a split: every movie is ranked for every user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.interface import Audience, Ranker, Rows
from training.evaluation.metrics import Catalogue, Lists, Values, accuracy, best, coverage
from training.evaluation.slices import Slice
from training.evaluation.splits import Split

PUBLISHED, SERVED = "published", "served"
"""The masks. Published: movies that the user liked in training or validation. Served: also those
that the user rated low, which a system that knows them would never show."""
_BLOCK = 1024
"""Users that are scored at once, which bounds the memory."""


@dataclass(frozen=True)
class Ranked:
    """The lists of a slice, and their metrics."""

    users: Rows
    """Rows of the users in the split."""
    lists: Lists
    values: Mapping[str, Values]
    """The value of each user by metric."""
    coverage: float
    """Share of the catalogue that is in at least one list."""


def rank(ranker: Ranker, split: Split, slices: Sequence[Slice]) -> dict[str, dict[str, Ranked]]:
    """Return the lists of a ranker by mask and slice.

    Raises:
        DataError: The catalogue is too small to leave a list for every user.
    """
    catalogue = Catalogue(split.movies, split.train)
    seen = split.train + split.validation
    masks = {PUBLISHED: seen, SERVED: seen + split.disliked}
    ranked: dict[str, dict[str, Ranked]] = {mask: {} for mask in masks}
    for each in slices:
        lists: dict[str, list[Lists]] = {mask: [] for mask in masks}
        for start in range(0, len(each.users), _BLOCK):
            rows = each.users[start : start + _BLOCK]
            scores = ranker.scores(each.audience(rows))
            for mask, masked in masks.items():
                lists[mask].append(best(scores, masked[rows]))
        for mask, blocks in lists.items():
            ranked[mask][each.name] = _ranked(split, catalogue, each.users, np.concatenate(blocks))
    return ranked


def validation_ndcg(ranker: Ranker, split: Split) -> float:
    """Return the NDCG@10 on the validation part, with the training part masked."""
    users = np.flatnonzero((split.validation.getnnz(axis=1) > 0) & (split.train.getnnz(axis=1) > 0))
    total = 0.0
    for start in range(0, len(users), _BLOCK):
        rows = users[start : start + _BLOCK]
        audience = Audience(tuple(split.users[row] for row in rows), split.train[rows])
        lists = best(ranker.scores(audience), split.train[rows])
        total += accuracy(lists, split.validation[rows])["ndcg@10"].sum()
    return float(total / len(users))


def _ranked(split: Split, catalogue: Catalogue, users: Rows, lists: Lists) -> Ranked:
    values = {
        **accuracy(lists, split.test[users]),
        **catalogue.content(lists, split.train[users]),
    }
    return Ranked(users, lists, values, coverage(lists, len(split.movies)))
