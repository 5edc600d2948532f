from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fusion.records import User
from training.evaluation import rankers
from training.evaluation.comparison import RANKERS
from training.evaluation.interface import Audience, Ranker, ones
from training.evaluation.rankers import (
    EASE_PENALTIES,
    autoencoder,
    fit_ease,
    fit_edlae,
    fit_item_knn,
    popularity,
)
from training.evaluation.splits import Split


@pytest.fixture(scope="module", params=RANKERS)
def ranker(request: pytest.FixtureRequest, split: Split) -> tuple[str, Ranker]:
    """Return the name of a baseline and its ranker."""
    return request.param, RANKERS[request.param](split).ranker


def told(split: Split, rated: csr_matrix) -> Audience:
    return Audience(split.users, rated)


def test_the_autoencoder_is_a_ridge_regression_of_each_movie_on_the_others() -> None:
    liked = (np.random.default_rng(0).random((60, 8)) < 0.4).astype(float)
    penalties = np.linspace(1, 5, 8)
    weights = autoencoder(liked.T @ liked, penalties)
    for movie in range(8):
        others = np.arange(8) != movie
        known = liked[:, others]
        expected = np.linalg.solve(
            known.T @ known + np.diag(penalties[others]), known.T @ liked[:, movie]
        )
        np.testing.assert_allclose(weights[others, movie], expected, rtol=1e-4, atol=1e-6)
        assert weights[movie, movie] == 0


def test_ease_takes_the_penalty_that_is_best_on_validation(split: Split) -> None:
    fitted = fit_ease(split)
    best = max(fitted.tried, key=fitted.tried.__getitem__)
    assert set(fitted.tried) == {f"penalty {each:g}" for each in EASE_PENALTIES}
    gram = (ones(split.train).T @ ones(split.train)).toarray().astype(float)
    weights = autoencoder(gram, np.full(len(gram), float(best.split()[1])))
    np.testing.assert_allclose(
        fitted.ranker.scores(told(split, split.train)),
        ones(split.train) @ weights,
        rtol=1e-3,
        atol=1e-5,
    )


def test_edlae_without_dropout_and_weights_is_ease(split: Split) -> None:
    plain = fit_edlae(split, dropout=0.0, penalty=100.0, exponent=0.0)
    gram = (ones(split.train).T @ ones(split.train)).toarray().astype(float)
    expected = ones(split.train) @ autoencoder(gram, np.full(len(gram), 100.0))
    scores = plain.ranker.scores(told(split, split.train))
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


def test_item_knn_scores_by_the_cosines_of_the_nearest_movies(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = csr_matrix(split.train[:, :8])  # fewer movies than neighbours, so all are near
    small = replace(split, movies=split.movies[:8], train=train, validation=split.validation[:, :8])
    liked = ones(train).toarray()
    directions = liked / np.linalg.norm(liked, axis=0)
    expected = liked @ (directions.T @ directions)
    monkeypatch.setattr(rankers, "validation_ndcg", lambda ranker, split: 0.0)  # all tie
    scores = fit_item_knn(small).ranker.scores(told(small, train))
    known = liked.sum(axis=1) > 0
    np.testing.assert_allclose(scores[known], expected[known], rtol=1e-4)


def test_no_ranker_looks_at_the_test_part(ranker: tuple[str, Ranker], split: Split) -> None:
    name, fitted = ranker
    audience = told(split, split.train)
    nothing = csr_matrix(split.test.shape, dtype=np.float32)
    blind = RANKERS[name](replace(split, test=nothing)).ranker
    seen = fitted.scores(audience)
    np.testing.assert_array_equal(seen, blind.scores(audience))
    assert seen.dtype == np.float32
    assert seen.shape == split.train.shape


def test_without_a_history_the_order_is_that_of_popularity(
    ranker: tuple[str, Ranker], split: Split
) -> None:
    name, fitted = ranker
    nobody = Audience((User(),) * 2, csr_matrix((2, len(split.movies)), dtype=np.float32))
    for scores in fitted.scores(nobody):
        ordered = popularity(split)[np.argsort(-scores)]
        assert (np.diff(ordered) <= 0).all() == (name != "item_mean")


def test_a_user_is_scored_by_the_history_that_is_told_whoever_is_asked_about_as_well(
    ranker: tuple[str, Ranker], split: Split
) -> None:
    name, fitted = ranker
    strangers = Audience((User(),) * len(split.users), split.train)
    together = fitted.scores(strangers)
    alone = fitted.scores(Audience((User(),), split.train[3]))[0]
    np.testing.assert_allclose(alone, together[3], rtol=1e-4, atol=1e-5)
    same_for_all = name in ("popularity", "item_mean")
    assert np.allclose(together[2], together[3]) == same_for_all
