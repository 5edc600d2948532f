"""Figures of a model and of the baselines that it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fusion.bundle import Vectors
from fusion.records import Movie, User
from training.baselines import biases, global_mean, item_mean
from training.batches import Rows, Split
from training.movielens import Dataset, Ratings

EmbedUsers = Callable[[Sequence[User]], Vectors]
EmbedMovies = Callable[[Sequence[Movie]], Vectors]


def evaluate(
    dataset: Dataset,
    split: Split,
    embed_users: EmbedUsers,
    embed_movies: EmbedMovies,
    score_scale: float,
) -> dict[str, float]:
    """Return the figures of a model on the test ratings, by name.

    `rmse` and `mae`, with nothing hidden; `rmse_demographics_only`, with the users' ids hidden;
    `rmse_id_only`, with everything but the users' ids hidden; `rmse_nothing_known`, with everything
    about the users hidden; `rmse_new_movies`, with the movies' ids hidden. Then the RMSE of the
    baselines, fitted to the training ratings: `baseline_global_mean`, `baseline_item_mean`,
    `baseline_biases`.

    Args:
        dataset: The data.
        split: The split of its ratings.
        embed_users: Turns users into vectors, float32 [n, dimension].
        embed_movies: Turns movies into vectors, float32 [n, dimension].
        score_scale: Factor from inner product to rating.
    """
    ratings, test = dataset.ratings, split.test
    users, movies = embed_users(dataset.users), embed_movies(dataset.movies)

    def of(user_vectors: Vectors, movie_vectors: Vectors) -> float:
        return rmse(ratings, test, predict(user_vectors, movie_vectors, ratings, test, score_scale))

    anonymous = [user._replace(user_id=None) for user in dataset.users]
    bare = [User(user.user_id) for user in dataset.users]
    nobody = [User()] * len(dataset.users)
    new = [movie._replace(movie_id=None) for movie in dataset.movies]
    errors = predict(users, movies, ratings, test, score_scale) - ratings.stars[test]
    return {
        "rmse": of(users, movies),
        "mae": float(np.abs(errors).mean()),
        "rmse_demographics_only": of(embed_users(anonymous), movies),
        "rmse_id_only": of(embed_users(bare), movies),
        "rmse_nothing_known": of(embed_users(nobody), movies),
        "rmse_new_movies": of(users, embed_movies(new)),
        "baseline_global_mean": rmse(ratings, test, global_mean(ratings, split.train, test)),
        "baseline_item_mean": rmse(ratings, test, item_mean(ratings, split.train, test)),
        "baseline_biases": rmse(ratings, test, biases(ratings, split.train, test)),
    }


def predict(
    users: Vectors, movies: Vectors, ratings: Ratings, rows: Rows, score_scale: float
) -> NDArray[np.float32]:
    """Predict ratings, float32 [len(rows)].

    Args:
        users: Vectors of all users of the data set, float32 [users, dimension].
        movies: Vectors of all movies, float32 [movies, dimension].
        ratings: All ratings.
        rows: Rows of `ratings` to predict.
        score_scale: Factor from inner product to rating.
    """
    predicted = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), 1 << 14):  # keeps the gathered vectors in the cache
        chunk = rows[start : start + (1 << 14)]
        products = np.einsum("nd,nd->n", users[ratings.user[chunk]], movies[ratings.movie[chunk]])
        predicted[start : start + len(chunk)] = score_scale * products
    return predicted


def rmse(ratings: Ratings, rows: Rows, predicted: NDArray[np.floating]) -> float:
    """Return the root of the mean squared error of predictions, in stars."""
    errors = predicted.astype(np.float64) - ratings.stars[rows]
    return float(np.sqrt(np.mean(errors**2)))
