from __future__ import annotations

import numpy as np
import pytest

from training.baselines import biases, global_mean, item_mean
from training.evaluate import predict, rmse
from training.movielens import Ratings

# Movie 0 is rated 4 and 2, movie 1 is rated 5, movie 2 by nobody in the training rows.
RATINGS = Ratings(
    user=np.array([0, 1, 0, 1, 1]),
    movie=np.array([0, 0, 1, 1, 2]),
    stars=np.array([4, 2, 5, 3, 1], dtype=np.float32),
    timestamp=np.zeros(5, dtype=np.int64),
)
TRAIN, TEST = np.array([0, 1, 2]), np.array([3, 4])


def test_the_global_mean_is_that_of_the_training_ratings() -> None:
    np.testing.assert_allclose(global_mean(RATINGS, TRAIN, TEST), [11 / 3, 11 / 3])


def test_the_item_mean_falls_back_to_the_global_mean() -> None:
    np.testing.assert_allclose(item_mean(RATINGS, TRAIN, TEST), [5, 11 / 3])


def test_biases_tell_a_kind_user_from_a_good_movie() -> None:
    rng = np.random.default_rng(0)
    user, movie = (a.ravel() for a in np.meshgrid(np.arange(80), np.arange(90), indexing="ij"))
    kindness, quality = rng.normal(0, 0.5, 80), rng.normal(0, 0.5, 90)
    stars = (3 + kindness[user] + quality[movie]).astype(np.float32)
    ratings = Ratings(user, movie, stars, np.zeros(len(stars), dtype=np.int64))
    order = rng.permutation(len(stars))
    train, test = order[:5000], order[5000:]
    # What damping leaves.
    assert rmse(ratings, test, biases(ratings, train, test)) < 0.1
    assert rmse(ratings, test, item_mean(ratings, train, test)) > 0.4


def test_rmse_is_the_root_of_the_mean_squared_error() -> None:
    assert rmse(RATINGS, TEST, np.array([5.0, 4.0])) == pytest.approx(np.sqrt((4 + 9) / 2))


def test_a_prediction_is_the_scaled_inner_product() -> None:
    users = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    movies = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    np.testing.assert_allclose(
        predict(users, movies, RATINGS, np.arange(5), 5.0), [5, 3, 0, 4, -3], rtol=1e-6
    )
