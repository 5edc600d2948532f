"""Fits the towers of the ranking objective to a data set."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.features import FeatureEncoder
from fusion.vocabularies import Vocabularies
from training.batches import Rows
from training.config import Config
from training.movielens import Dataset
from training.ranking.closed_form import Factors, solve
from training.ranking.interactions import Interactions, Matrix
from training.ranking.towers import RankingMovieTower, RankingUserTower


@dataclass(frozen=True)
class Ranker:
    """A trained model of the ranking objective."""

    encoder: FeatureEncoder
    """Encoder of the towers' inputs."""
    user: RankingUserTower
    """The tower of users."""
    movie: RankingMovieTower
    """The tower of movies."""
    seconds: float
    """Time that the fit took."""


def fit_ranker(config: Config, dataset: Dataset, rows: Rows) -> Ranker:
    """Return the towers that rank best by some ratings of a data set.

    Args:
        config: The choices of the run.
        dataset: The data; each of its users and movies gets an id of the model.
        rows: Rows of `dataset.ratings` to learn from; the others are not looked at.

    Raises:
        DataError: None of these ratings is that of a liked movie.
    """
    started = time.perf_counter()
    vocabularies = Vocabularies.of(dataset.users, dataset.movies)
    encoder = FeatureEncoder(vocabularies, histories=True)
    data = Interactions.of(dataset, rows, encoder)
    factors = solve(data, config)
    content = _content(factors, data, dataset, encoder, config)
    user = _user_tower(factors, data, dataset, encoder, config)
    return Ranker(encoder, user, content, time.perf_counter() - started)


def _user_tower(
    factors: Factors,
    data: Interactions,
    dataset: Dataset,
    encoder: FeatureEncoder,
    config: Config,
) -> RankingUserTower:
    known = encoder.vocabularies
    user_id = encoder.users(dataset.users).features["user_id"]
    many = factors.many / np.float32(config.history_scale)
    histories = np.zeros((len(known.user_id), 2 * config.dimension + 1), dtype=np.float32)
    for rows, _, graded, _ in data.chunks():
        few = (graded > 0).astype(np.float32) @ factors.few
        histories[user_id[rows]] = _history(few, graded @ many, data.likes[rows])
    liked = _history(factors.few, many, np.ones(data.movies))
    disliked = _history(factors.disliked, np.zeros_like(many), np.zeros(data.movies))
    # The columns of `people` are relative to their mean, so nothing is what *unknown* adds.
    ends = np.cumsum([len(each) - 1 for each in (known.gender, known.age)])
    tables = [_with_unknown(_with_last(part)) for part in np.split(factors.people, ends)]
    gender, age, occupation = tables
    return RankingUserTower(
        histories=histories,
        movies=np.concatenate([_with_unknown(liked), _with_unknown(disliked)]),
        gender=gender + _with_last(factors.nobody[None]),
        age=age,
        occupation=occupation,
    )


def _history(few: Matrix, many: Matrix, likes: NDArray[Any]) -> Matrix:
    """Return rows for the tower of users, see `RankingUserTower`."""
    return np.concatenate([_with_last(few), _with_last(many), _single(likes)[:, None]], axis=1)


def _content(
    factors: Factors,
    data: Interactions,
    dataset: Dataset,
    encoder: FeatureEncoder,
    config: Config,
) -> RankingMovieTower:
    """Return the tower of movies, with a ridge regression of vectors on genres and titles.

    A movie that nobody liked has no vector of its own, so it gets that of its content.
    """
    known, index = encoder.vocabularies, encoder.movies(dataset.movies).features
    count = len(dataset.movies)
    words = np.zeros((count, len(known.title_word)), dtype=np.float64)
    np.add.at(words, (np.arange(count)[:, None], index["title"]), 1.0)
    words[:, 0] = 0.0
    inputs = np.concatenate([np.ones((count, 1)), index["genres"], words], axis=1)
    vectors = factors.movies[index["movie_id"] - 1]
    liked = np.bincount(data.movie[data.liked > 0], minlength=data.movies)[index["movie_id"] - 1]
    taught = inputs[liked > 0]
    ridge = np.full(inputs.shape[1], config.content_ridge)
    ridge[0] = 1e-3  # the intercept is free
    weights = np.linalg.solve(taught.T @ taught + np.diag(ridge), taught.T @ vectors[liked > 0])
    table = np.zeros((len(known.movie_id), vectors.shape[1]))
    table[index["movie_id"]] = np.where((liked > 0)[:, None], vectors, inputs @ weights)
    longest = np.sqrt((table**2).sum(axis=1).max())
    new, genres, title = np.split(weights / longest, [1, 1 + len(known.genre)])
    return RankingMovieTower(
        movie_id=_single(table / longest),
        genres=_single(genres),
        words=_single(title),
        new=_single(new),
    )


def _with_last(vectors: Matrix) -> Matrix:
    """Return vectors of users with their last coordinate, which is 0."""
    return np.pad(vectors, ((0, 0), (0, 1)))


def _with_unknown(rows: Matrix) -> Matrix:
    """Return a table with a row of zeros ahead, for what is unknown."""
    return np.concatenate([np.zeros((1, rows.shape[1]), dtype=np.float32), rows])


def _single(values: NDArray[Any]) -> Matrix:
    return np.asarray(values, dtype=np.float32)
