"""Runs a rater over the slices of a split: every test rating is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.interface import Audience, Rater, Rows
from training.evaluation.metrics import Values
from training.evaluation.slices import Slice
from training.evaluation.splits import Split
from training.movielens import MAX_STARS, MIN_STARS


@dataclass(frozen=True)
class Rated:
    """The errors of a slice, summed by user."""

    users: Rows
    """Rows of the users in the split."""
    squared: Values
    """Sum of the squared errors of each user."""
    absolute: Values
    """Sum of the absolute errors."""
    count: Values
    """Number of predicted ratings."""

    def figures(self) -> Mapping[str, float]:
        """Return `rmse` and `mae`, over all ratings, in stars."""
        count = self.count.sum()
        return {
            "rmse": float(np.sqrt(self.squared.sum() / count)),
            "mae": float(self.absolute.sum() / count),
        }


def predict(rater: Rater, split: Split, slices: Sequence[Slice]) -> dict[str, Rated]:
    """Return the errors of a rater by slice; predictions are clipped to valid stars."""
    return {
        each.name: _errors(rater, split, each.users, each.audience(each.users)) for each in slices
    }


def validation_rmse(rater: Rater, split: Split) -> float:
    """Return the RMSE on the validation part."""
    audience = Audience(split.users, split.train)
    coordinates = split.validation.tocoo()
    predicted = rater.ratings(audience, coordinates.row, coordinates.col)
    errors = predicted.clip(MIN_STARS, MAX_STARS) - coordinates.data
    return float(np.sqrt(np.mean(errors**2)))


def _errors(rater: Rater, split: Split, users: Rows, audience: Audience) -> Rated:
    wanted = split.test[users].tocoo()
    predicted = rater.ratings(audience, wanted.row, wanted.col).clip(MIN_STARS, MAX_STARS)
    errors = predicted - wanted.data

    def by_user(values: Values) -> Values:
        return np.asarray(np.bincount(wanted.row, values, len(users)), dtype=np.float64)

    return Rated(users, by_user(errors**2), by_user(np.abs(errors)), by_user(np.ones(len(errors))))
