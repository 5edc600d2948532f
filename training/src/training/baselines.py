"""Predictions without a model: each function is fitted to some ratings and predicts others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.batches import Rows
from training.movielens import Ratings

_USER_DAMPING, _MOVIE_DAMPING = 5.0, 3.0
_SWEEPS = 5


def global_mean(ratings: Ratings, train: Rows, test: Rows) -> NDArray[np.float64]:
    """Predict the mean of all training ratings for every test rating."""
    return np.full(len(test), ratings.stars[train].mean(dtype=np.float64))


def item_mean(ratings: Ratings, train: Rows, test: Rows) -> NDArray[np.float64]:
    """Predict the mean of the movie's training ratings, or the global mean if it has none."""
    mean = ratings.stars[train].mean(dtype=np.float64)
    offsets = _offsets(ratings.movie, ratings.stars - mean, train, damping=0.0)
    return np.asarray(mean + offsets[ratings.movie[test]])


def biases(ratings: Ratings, train: Rows, test: Rows) -> NDArray[np.float64]:
    """Predict the global mean plus the biases of movie and user.

    Both biases are damped towards 0 and fitted alternately, as in Koren, "Factor in the neighbors"
    (ACM TKDD 4, 2010), section 2.1.
    """
    mean = ratings.stars[train].mean(dtype=np.float64)
    users = np.zeros(ratings.user.max() + 1)
    movies = np.zeros(ratings.movie.max() + 1)
    for _ in range(_SWEEPS):
        residuals = ratings.stars - mean - users[ratings.user]
        movies = _offsets(ratings.movie, residuals, train, _MOVIE_DAMPING)
        residuals = ratings.stars - mean - movies[ratings.movie]
        users = _offsets(ratings.user, residuals, train, _USER_DAMPING)
    return np.asarray(mean + users[ratings.user[test]] + movies[ratings.movie[test]])


def _offsets(
    group: NDArray[np.int64], values: NDArray[np.floating], rows: Rows, damping: float
) -> NDArray[np.float64]:
    """Return the damped mean of the values of each group over some rows, 0 for an empty group."""
    size = int(group.max()) + 1
    sums = np.bincount(group[rows], weights=values[rows], minlength=size)
    counts = np.bincount(group[rows], minlength=size)
    return np.asarray(np.divide(sums, counts + damping, out=np.zeros(size), where=counts > 0))
