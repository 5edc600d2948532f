"""Intervals by the bootstrap over users.

The same resamples serve all models and metrics, so differences are paired, and one product of
matrices gives all means; `scipy.stats.bootstrap` draws anew for each of them, a minute instead of a
second for a split.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
"""Probability with which an interval covers the mean of the population that users come from."""

Interval = tuple[float, float]
Values = NDArray[np.float64]


def of_mean(values: NDArray[np.float64], seed: int = 0) -> list[Interval]:
    """Return the interval of the mean of each column.

    Args:
        values: A row for each user, a column for each figure, [users, figures].
        seed: Determines the resamples.
    """
    return _intervals(_weights(len(values), seed) @ values)


def of_ratio(sums: Values, counts: Values, seed: int = 0) -> Interval:
    """Return the interval of a mean over ratings, of which users have several.

    Args:
        sums: Sum of the values of each user.
        counts: Number of ratings of each user.
        seed: Determines the resamples.
    """
    return _intervals(_ratios(sums, counts, seed)[:, None])[0]


def of_root_difference(ours: Values, theirs: Values, counts: Values, seed: int = 0) -> Interval:
    """Return the interval of the difference of two root mean squares over the same ratings.

    Args:
        ours: Sum of the squares of each user.
        theirs: The same, of the model to compare with.
        counts: Number of ratings of each user.
        seed: Determines the resamples.
    """
    roots = [np.sqrt(_ratios(each, counts, seed)) for each in (ours, theirs)]
    return _intervals((roots[0] - roots[1])[:, None])[0]


def _ratios(sums: Values, counts: Values, seed: int) -> Values:
    weights = _weights(len(sums), seed)
    return np.asarray((weights @ sums) / (weights @ counts))


@lru_cache(maxsize=4)
def _weights(users: int, seed: int) -> NDArray[np.float64]:
    """Return how often each user is in each resample, as shares: [RESAMPLES, users]."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, users, (RESAMPLES, users))
    drawn += np.arange(RESAMPLES)[:, None] * users
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * users)
    return counts.reshape(RESAMPLES, users) / users


def _intervals(resampled: NDArray[np.float64]) -> list[Interval]:
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return [(float(low), float(high)) for low, high in np.quantile(resampled, tails, axis=0).T]
