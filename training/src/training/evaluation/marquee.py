"""Marquee's own model among the compared: trained on a split, asked through its exported towers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fusion.records import MAX_HISTORY
from training import machine
from training.config import PRESETS, Config
from training.evaluation.interface import Audience, FittedRanker, FittedRater, Rows
from training.evaluation.splits import Split
from training.movielens import Dataset, Ratings

_SMALL = 100_000
"""Fewer ratings than these are a small data set, with the preset for it."""


class TowerRanker:
    """Ranks by the inner products of the ranking objective's towers, as the services do."""

    def __init__(self, split: Split, config: Config) -> None:
        machine.prepare()
        from training.export import export_towers  # imports Paddle, see `machine`
        from training.ranking.fit import fit_ranker
        from training.towers import Towers

        dataset = _dataset(split, split.train)
        fitted = fit_ranker(config, dataset, np.arange(len(dataset.ratings)))
        with tempfile.TemporaryDirectory() as folder:
            export_towers((fitted.user, fitted.movie), fitted.encoder, Path(folder))
            self._towers = Towers(Path(folder), fitted.encoder)
        self._movie_ids = np.array([movie.movie_id for movie in split.movies])
        self._movies = self._towers.movies(split.movies)

    def scores(self, audience: Audience) -> NDArray[np.float32]:
        """Return the scores; a user with an id has his history in it, others bring theirs."""
        users = [
            user if user.user_id is not None else user._replace(liked_movie_ids=liked)
            for user, liked in zip(audience.users, self._likes(audience.rated), strict=True)
        ]
        return np.asarray(self._towers.users(users) @ self._movies.T)

    def _likes(self, rated: csr_matrix) -> Iterator[tuple[int, ...]]:
        for row in range(rated.shape[0]):
            liked = rated.indices[rated.indptr[row] : rated.indptr[row + 1]]
            yield tuple(self._movie_ids[liked[:MAX_HISTORY]].tolist())


class TowerRater:
    """Predicts ratings by the rating objective's towers."""

    def __init__(self, split: Split, config: Config) -> None:
        machine.prepare()
        from training.model import SCORE_SCALE  # imports Paddle, see `machine`
        from training.train import embed, fit

        dataset = _dataset(split, split.train + split.validation)
        with tempfile.TemporaryDirectory() as folder:
            result = fit(config, dataset, Path(folder), progress=False)
        self._result, self._embed = result, embed
        self._movies = SCORE_SCALE * embed(
            result.model.movie, result.encoder.movies(split.movies).features
        )

    def ratings(self, audience: Audience, user: Rows, movie: Rows) -> NDArray[np.float64]:
        """Predict ratings; the objective knows ids and demographics, but no histories."""
        features = self._result.encoder.users(audience.users).features
        users = self._embed(self._result.model.user, features)
        return np.asarray(np.einsum("nd,nd->n", users[user], self._movies[movie]), dtype=np.float64)


def fit_ranking(split: Split) -> FittedRanker:
    """Train the objective `ranking` on the likes of the training part."""
    return FittedRanker(TowerRanker(split, _preset(split, objective="ranking")))


def fit_rating(split: Split) -> FittedRater:
    """Train the objective `rating`, which stops early by ratings of its own choice.

    These are of training and validation; the test part that its training wants is nearly empty.
    """
    return FittedRater(TowerRater(split, _preset(split, objective="rating", test_share=1e-4)))


def _preset(split: Split, **choices: object) -> Config:
    preset = PRESETS["small" if split.train.nnz < _SMALL else "full"]
    return Config.model_validate({**preset.model_dump(), **choices})


def _dataset(split: Split, part: csr_matrix) -> Dataset:
    """Return a data set of the split's users and movies, with the ratings of one part."""
    ratings = part.tocoo()
    return Dataset(
        split.users,
        split.movies,
        Ratings(
            ratings.row.astype(np.int64),
            ratings.col.astype(np.int64),
            ratings.data.astype(np.float32),
            np.zeros(part.nnz, dtype=np.int64),
        ),
        fingerprint="",
    )
