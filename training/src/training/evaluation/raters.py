"""The baselines that predict ratings: global mean, item mean, biases and SVD.

What they say of a user follows from the history alone, by a formula that is the same for users
whom training saw and for those whom it did not. Surprise, the library for it, needs users that it
was fitted to, so biases and SVD are code of our own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from training.evaluation.interface import Audience, FittedRater, Rows
from training.evaluation.rating import validation_rmse
from training.evaluation.splits import Split

PENALTIES = (0.05, 0.07, 0.1)
"""Penalties of SVD for each rating."""
_RANK, _SWEEPS, _BIAS_SWEEPS, _SEED = 16, 12, 5, 1
_USER_DAMPING, _MOVIE_DAMPING = 5.0, 3.0
"""Ratings without an offset that the biases add to each user and movie."""


class MovieOffsets:
    """Predicts the global mean plus an offset of the movie."""

    def __init__(self, mean: float, movies: NDArray[np.float64]) -> None:
        self._mean = mean
        self._movies = movies

    def ratings(
        self,
        audience: Audience,  # noqa: ARG002
        user: Rows,  # noqa: ARG002
        movie: Rows,
    ) -> NDArray[np.float64]:
        """Return the same rating of a movie for everybody."""
        return np.asarray(self._mean + self._movies[movie])


class Biases:
    """Predicts the global mean plus the biases of movie and user (Koren 2010, section 2.1)."""

    def __init__(self, train: csr_matrix) -> None:
        self.mean = float(train.data.mean())
        self.movies = np.zeros(train.shape[1])
        user, movie = _pairs(train)
        for _ in range(_BIAS_SWEEPS):
            residuals = train.data - self.mean - self.users(train)[user]
            self.movies = _damped_means(movie, residuals, train.shape[1], _MOVIE_DAMPING)

    def users(self, rated: csr_matrix) -> NDArray[np.float64]:
        """Return the biases of users, from their histories."""
        user, movie = _pairs(rated)
        residuals = rated.data - self.mean - self.movies[movie]
        return _damped_means(user, residuals, rated.shape[0], _USER_DAMPING)

    def ratings(self, audience: Audience, user: Rows, movie: Rows) -> NDArray[np.float64]:
        """Predict ratings."""
        return np.asarray(self.mean + self.users(audience.rated)[user] + self.movies[movie])


class Svd:
    """Adds to the biases the inner product of factors, fitted by alternating least squares.

    The model that the field calls SVD (Koren, Bell and Volinsky 2009). The penalty grows with the
    number of ratings (Zhou et al. 2008), so that one value suits all users and movies.
    """

    def __init__(self, train: csr_matrix, penalty: float) -> None:
        self._penalty = penalty
        self._biases = Biases(train)
        rng = np.random.default_rng(_SEED)
        self._movies = rng.normal(0, 0.1, (train.shape[1], _RANK))
        residuals = self._residuals(train)
        by_movie = residuals.T.tocsr()
        for _ in range(_SWEEPS):
            users = _ridge(residuals, self._movies, penalty)
            self._movies = _ridge(by_movie, users, penalty)

    def ratings(self, audience: Audience, user: Rows, movie: Rows) -> NDArray[np.float64]:
        """Predict ratings."""
        users = _ridge(self._residuals(audience.rated), self._movies, self._penalty)
        products = np.einsum("nd,nd->n", users[user], self._movies[movie])
        return np.asarray(self._biases.ratings(audience, user, movie) + products)

    def _residuals(self, rated: csr_matrix) -> csr_matrix:
        user, movie = _pairs(rated)
        predicted = self._biases.mean + self._biases.users(rated)[user] + self._biases.movies[movie]
        return csr_matrix((rated.data - predicted, rated.indices, rated.indptr), shape=rated.shape)


def fit_global_mean(split: Split) -> FittedRater:
    """Predict the mean of all ratings."""
    return FittedRater(MovieOffsets(float(split.train.data.mean()), np.zeros(len(split.movies))))


def fit_item_mean(split: Split) -> FittedRater:
    """Predict the mean of the movie's ratings, or the mean of all if there are none."""
    mean = float(split.train.data.mean())
    _, movie = _pairs(split.train)
    offsets = _damped_means(movie, split.train.data - mean, len(split.movies), 0.0)
    return FittedRater(MovieOffsets(mean, offsets))


def fit_biases(split: Split) -> FittedRater:
    """Predict by the biases of movie and user."""
    return FittedRater(Biases(split.train))


def fit_svd(split: Split) -> FittedRater:
    """Predict by biases and factors, with the best penalty on validation."""
    fitted = {f"penalty {penalty:g}": Svd(split.train, penalty) for penalty in PENALTIES}
    tried = {name: validation_rmse(rater, split) for name, rater in fitted.items()}
    return FittedRater(fitted[min(tried, key=tried.__getitem__)], tried)


def _pairs(rated: csr_matrix) -> tuple[Rows, Rows]:
    """Return rows and columns of the ratings, in the order of the data."""
    return np.repeat(np.arange(rated.shape[0]), np.diff(rated.indptr)), rated.indices


def _damped_means(
    group: Rows, values: NDArray[np.floating], size: int, damping: float
) -> NDArray[np.float64]:
    """Return the damped mean of the values of each group, 0 for an empty one."""
    sums = np.bincount(group, weights=values, minlength=size)
    counts = np.bincount(group, minlength=size)
    return np.asarray(np.divide(sums, counts + damping, out=np.zeros(size), where=counts > 0))


def _ridge(wanted: csr_matrix, factors: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return the factors of each row that best explain its entries by those of the columns."""
    found = np.zeros((wanted.shape[0], factors.shape[1]))
    with threadpool_limits(1, "blas"):  # threads only wait for each other on systems this small
        for row in np.flatnonzero(np.diff(wanted.indptr)):
            entries = slice(wanted.indptr[row], wanted.indptr[row + 1])
            known = factors[wanted.indices[entries]]
            gram = known.T @ known
            gram[np.diag_indices_from(gram)] += penalty * len(known)
            found[row] = np.linalg.solve(gram, known.T @ wanted.data[entries])
    return found
