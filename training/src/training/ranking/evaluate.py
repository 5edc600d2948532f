"""How well the towers of the ranking objective order the catalogue, beside popularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fusion.bundle import Vectors
from fusion.records import Movie, User
from training.batches import Split
from training.movielens import Dataset, Ratings
from training.ranking.interactions import LIKED

EmbedUsers = Callable[[Sequence[User]], Vectors]
EmbedMovies = Callable[[Sequence[Movie]], Vectors]

LENGTH = 10
"""Movies in a list."""

_CHUNK = 512
"""Users whose scores are in memory at once."""

_DISCOUNT = 1 / np.log2(np.arange(2, LENGTH + 2))


def evaluate(
    dataset: Dataset, split: Split, embed_users: EmbedUsers, embed_movies: EmbedMovies
) -> dict[str, float]:
    """Return the figures of a model on the liked movies among the test ratings, by name.

    Every movie that the user has not rated in training is a candidate. `ndcg_at_10` and
    `recall_at_10`, with nothing hidden; `ndcg_at_10_demographics_only`, with the users' ids hidden;
    `ndcg_at_10_nothing_known`, with everything about the users hidden; and
    `baseline_popularity_ndcg_at_10`, of the same list for everybody: the movies that most liked.

    Args:
        dataset: The data.
        split: The split of its ratings; those for validation count as training.
        embed_users: Turns users into vectors, float32 [n, dimension].
        embed_movies: Turns movies into vectors, float32 [n, dimension].
    """
    movies = embed_movies(dataset.movies)
    anonymous = [user._replace(user_id=None) for user in dataset.users]
    nobody = [User()] * len(dataset.users)
    known = np.concatenate([split.train, split.validation])
    ratings = dataset.ratings
    popularity = np.bincount(
        ratings.movie[known], weights=ratings.stars[known] >= min(LIKED), minlength=len(movies)
    )

    def of(users: Sequence[User]) -> tuple[float, float]:
        vectors = embed_users(users)
        return accuracy(ratings, known, split.test, lambda rows: vectors[rows] @ movies.T)

    ndcg, recall = of(dataset.users)
    popular = np.float32(popularity)
    return {
        "ndcg_at_10": ndcg,
        "recall_at_10": recall,
        "ndcg_at_10_demographics_only": of(anonymous)[0],
        "ndcg_at_10_nothing_known": of(nobody)[0],
        "baseline_popularity_ndcg_at_10": accuracy(
            ratings, known, split.test, lambda rows: np.tile(popular, (len(rows), 1))
        )[0],
    }


def accuracy(
    ratings: Ratings,
    known: NDArray[np.int64],
    test: NDArray[np.int64],
    scores: Callable[[NDArray[np.int64]], NDArray[np.float32]],
) -> tuple[float, float]:
    """Return NDCG and recall of the ten best movies, means over the users with a test movie.

    Args:
        ratings: All ratings.
        known: Rows of those whose movies are not candidates.
        test: Rows of those whose liked movies are to be found.
        scores: Returns the scores of all movies for some users, float32 [users, movies].
    """
    wanted = test[ratings.stars[test] >= min(LIKED)]
    users = np.unique(ratings.user[wanted])
    ndcg, recall = [], []
    for start in range(0, len(users), _CHUNK):
        chunk = users[start : start + _CHUNK]
        score = np.array(scores(chunk))
        score[_pairs(ratings, known, chunk)] = -np.inf
        found = np.zeros(score.shape, dtype=np.bool_)
        found[_pairs(ratings, wanted, chunk)] = True
        best = np.argsort(-score, axis=1, kind="stable")[:, :LENGTH]
        hits = np.take_along_axis(found, best, axis=1)
        count = found.sum(axis=1)
        ideal = np.cumsum(_DISCOUNT)[np.minimum(count, LENGTH) - 1]
        ndcg.append((hits * _DISCOUNT[: hits.shape[1]]).sum(axis=1) / ideal)
        recall.append(hits.sum(axis=1) / count)
    if not ndcg:
        return 0.0, 0.0
    return float(np.concatenate(ndcg).mean()), float(np.concatenate(recall).mean())


def _pairs(
    ratings: Ratings, rows: NDArray[np.int64], users: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return place in `users` and movie of the ratings that are theirs."""
    rows = rows[np.isin(ratings.user[rows], users)]
    return np.searchsorted(users, ratings.user[rows]), ratings.movie[rows]
