from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fusion.records import User
from training.evaluation.comparison import RATERS
from training.evaluation.interface import Audience
from training.evaluation.raters import Biases, Svd, fit_item_mean
from training.evaluation.rating import predict
from training.evaluation.slices import slices
from training.evaluation.splits import Split, rating_split
from training.movielens import Dataset


@pytest.fixture(scope="module")
def ratings(dataset: Dataset) -> Split:
    return rating_split(dataset, 0)


def rmse(name: str, split: Split) -> float:
    return predict(RATERS[name](split).rater, split, slices(split, 0))["all"].figures()["rmse"]


def test_the_rmse_and_mae_of_the_item_mean_are_those_computed_by_hand() -> None:
    train = csr_matrix(np.array([[4, 5, 0], [2, 0, 1]], dtype=np.float32))
    test = csr_matrix(np.array([[0, 0, 2], [0, 3, 0]], dtype=np.float32))
    empty = csr_matrix((2, 3), dtype=np.float32)
    split = Split("s", (User(1), User(2)), (), train, empty, test, empty)
    split = replace(split, movies=(None,) * 3)  # type: ignore[arg-type]  # only counted
    found = predict(fit_item_mean(split).rater, split, slices(split, 0))["all"]
    # Predicted are 1 and 5.
    assert found.figures() == pytest.approx({"rmse": np.sqrt((1 + 4) / 2), "mae": 1.5})


def test_each_rater_beats_the_simpler_one(ratings: Split) -> None:
    errors = [rmse(name, ratings) for name in ("global_mean", "item_mean", "biases")]
    assert errors == sorted(errors, reverse=True)


def test_svd_finds_factors_that_biases_cannot_express() -> None:
    rng = np.random.default_rng(0)
    taste, kind = rng.choice([-1.0, 1.0], 100), rng.choice([-1.0, 1.0], 80)
    stars = (3 + np.outer(taste, kind)).astype(np.float32)
    known = rng.random(stars.shape) < 0.5
    train = csr_matrix(stars * known)
    user, movie = np.nonzero(~known)
    audience = Audience((User(),) * 100, train)

    def error(rater: Biases | Svd) -> float:
        return float(np.abs(rater.ratings(audience, user, movie) - stars[~known]).mean())

    assert error(Biases(train)) > 0.9
    assert error(Svd(train, 0.05)) < 0.2


@pytest.mark.parametrize("name", RATERS)
def test_no_rater_looks_at_the_test_part(name: str, ratings: Split) -> None:
    audience = Audience(ratings.users, ratings.train)
    found = ratings.test.tocoo()
    seen = RATERS[name](ratings).rater.ratings(audience, found.row, found.col)
    nothing = csr_matrix(ratings.test.shape, dtype=np.float32)
    blind = RATERS[name](replace(ratings, test=nothing)).rater
    np.testing.assert_array_equal(seen, blind.ratings(audience, found.row, found.col))
