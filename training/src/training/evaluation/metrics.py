"""Metrics of ranked lists, one value for each user, and the lists themselves.

Accuracy is defined as in RecBole, so that figures compare with published ones. Our own code because
the libraries either sample negatives or give means only, and intervals need each user's value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fusion.records import Movie
from training.errors import DataError

SHORT, LONG = 10, 20
"""Lengths of the lists."""
_SMOOTHING = 0.01
"""Share of the history's genres in the smoothed genres of a list (Steck 2018)."""

Lists = NDArray[np.int64]
"""The best movies of each user, best first, [users, length]."""
Values = NDArray[np.float64]
"""One value for each user."""


def best(scores: NDArray[np.float32], masked: csr_matrix, length: int = LONG) -> Lists:
    """Return the best movies that are not masked.

    Args:
        scores: Score of each movie for each user, [users, movies]; not changed.
        masked: Has an entry wherever a movie must not be in the list, [users, movies].
        length: Length of the lists.

    Raises:
        DataError: A user has fewer candidates than the list is long.
    """
    if scores.shape[1] - masked.getnnz(axis=1).max(initial=0) < length:
        raise DataError(f"A user has fewer than {length} movies left that could be recommended.")
    scores = scores.copy()
    scores[np.repeat(np.arange(len(scores)), np.diff(masked.indptr)), masked.indices] = -np.inf
    found = np.argpartition(scores, -length, axis=1)[:, -length:]
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(found, order, axis=1))


def hits(lists: Lists, wanted: csr_matrix) -> NDArray[np.bool_]:
    """Mark the places of the lists that hold a wanted movie, [users, length]."""
    rows = np.arange(len(lists))[:, None]
    return np.asarray(wanted.toarray()[rows, lists] > 0)


def accuracy(lists: Lists, wanted: csr_matrix) -> dict[str, Values]:
    """Return `ndcg@10`, `recall@10`, `recall@20`, `hr@10` and `mrr@10`.

    Args:
        lists: Lists of `LONG` movies.
        wanted: Has an entry for each movie that the user liked in the test; no row is empty.
    """
    hit, count = hits(lists, wanted), wanted.getnnz(axis=1)
    short = hit[:, :SHORT]
    discounts = 1 / np.log2(np.arange(2, SHORT + 2))
    ideal = np.cumsum(discounts)[np.minimum(count, SHORT) - 1]
    first = np.where(short.any(axis=1), short.argmax(axis=1) + 1, np.inf)
    return {
        "ndcg@10": short @ discounts / ideal,
        "recall@10": short.sum(axis=1) / count,
        "recall@20": hit.sum(axis=1) / count,
        "hr@10": short.any(axis=1).astype(np.float64),
        "mrr@10": 1 / first,
    }


class Catalogue:
    """Popularity and genres of the movies, for the metrics of what lists consist of."""

    def __init__(self, movies: Sequence[Movie], train: csr_matrix) -> None:
        genres = sorted({genre for movie in movies for genre in movie.genres})
        has = np.array([[g in movie.genres for g in genres] for movie in movies], dtype=np.float64)
        self._shares = _scaled(has, has.sum(axis=1))
        self._directions = _scaled(has, np.sqrt(has.sum(axis=1)))
        likes = np.maximum(1, train.getnnz(axis=0))  # a movie without a like counts as with one
        self._surprise = -np.log2(likes / train.shape[0])

    def content(self, lists: Lists, history: csr_matrix) -> dict[str, Values]:
        """Return `novelty@10`, `diversity@10` and `miscalibration@10`.

        Args:
            lists: Lists of at least `SHORT` movies.
            history: Has an entry for each movie that the user liked before. Without one there is
                nothing to calibrate to, and the value is NaN.
        """
        lists = lists[:, :SHORT]
        return {
            "novelty@10": self._surprise[lists].mean(axis=1),
            "diversity@10": self._diversity(lists),
            "miscalibration@10": self._miscalibration(lists, history),
        }

    def _diversity(self, lists: Lists) -> Values:
        vectors = self._directions[lists]
        alike = (vectors.sum(axis=1) ** 2).sum(axis=1) - (vectors**2).sum(axis=(1, 2))
        return np.asarray(1 - alike / (SHORT * (SHORT - 1)))

    def _miscalibration(self, lists: Lists, history: csr_matrix) -> Values:
        wanted = np.asarray(history.astype(np.bool_).astype(np.float64) @ self._shares)
        wanted = _scaled(wanted, wanted.sum(axis=1))
        given = self._shares[lists].mean(axis=1)
        smoothed = (1 - _SMOOTHING) * given + _SMOOTHING * wanted
        ratio = np.divide(wanted, smoothed, out=np.ones_like(wanted), where=wanted > 0)
        divergence = (wanted * np.log(ratio)).sum(axis=1)
        return np.where(history.getnnz(axis=1) > 0, divergence, np.nan)


def coverage(lists: Lists, movies: int) -> float:
    """Return the share of the catalogue that is in at least one list of `SHORT` movies, 0 to 1."""
    return len(np.unique(lists[:, :SHORT])) / movies


def _scaled(rows: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(rows, by[:, None], out=np.zeros_like(rows), where=by[:, None] > 0)
