"""The split of the ratings, and batches of model inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion.features import FeatureEncoder
from fusion.vocabulary import UNKNOWN
from training.config import Config
from training.errors import DataError
from training.movielens import Dataset
from training.parallel import Workers

Rows = NDArray[np.int64]
"""Indices of ratings."""


@dataclass(frozen=True)
class Split:
    """Ratings for training, validation and test, as rows of `Dataset.ratings`."""

    train: Rows
    validation: Rows
    test: Rows

    @classmethod
    def of(cls, count: int, config: Config) -> Split:
        """Split ratings at random; the split depends on their number, seed and shares alone.

        Args:
            count: Number of ratings.
            config: Gives the seed and the shares.

        Raises:
            DataError: There are too few ratings, so a part would be empty.
        """
        order = np.random.default_rng(config.seed).permutation(count)
        test = round(count * config.test_share)
        validation = round((count - test) * config.validation_share)
        split = cls(
            train=order[test + validation :],
            validation=order[test : test + validation],
            test=order[:test],
        )
        if not (len(split.train) and len(split.validation) and len(split.test)):
            raise DataError(f"{count} ratings are too few to be split for training and evaluation.")
        return split


@dataclass(frozen=True)
class Batch:
    """The ratings of one step that this worker trains on."""

    user: dict[str, NDArray[Any]]
    """Inputs of the user tower by name."""
    movie: dict[str, NDArray[Any]]
    """Inputs of the movie tower by name."""
    stars: NDArray[np.float32]
    """The ratings, float32 [n]."""
    total: int
    """Number of ratings of this step, including those of the other workers."""


class Batches:
    """The training ratings as batches, in a different order in each epoch.

    All randomness in a batch follows from seed, epoch and step alone, not from earlier batches. So
    a run can resume anywhere, and several workers train the same model as one.
    """

    def __init__(
        self,
        dataset: Dataset,
        encoder: FeatureEncoder,
        rows: Rows,
        config: Config,
        workers: Workers,
    ) -> None:
        self._users = encoder.users(dataset.users).features
        self._movies = encoder.movies(dataset.movies).features
        self._ratings = dataset.ratings
        self._rows = rows
        self._config = config
        self._workers = workers
        self._order: tuple[int, Rows] = (-1, rows)

    @property
    def steps(self) -> int:
        """Number of batches of an epoch; their sizes differ by at most one rating."""
        return -(-len(self._rows) // self._config.batch_size)

    def get(self, epoch: int, step: int) -> Batch:
        """Return this worker's share of a batch; epoch and step count from 0."""
        config, count = self._config, len(self._movies["movie_id"])
        rows = self._epoch(epoch)[step :: self.steps]
        rng = np.random.default_rng([config.seed, epoch, step])
        hide_user = rng.random(len(rows)) < config.user_dropout
        hidden = {
            "user_id": hide_user | (rng.random(len(rows)) < config.user_id_dropout),
            "movie_id": rng.random(len(rows)) < config.movie_id_dropout,
            "genres": rng.random(count) < config.attribute_dropout,
            "title": rng.random(count) < config.attribute_dropout,
        }
        for name in ("gender", "age", "occupation"):
            hidden[name] = hide_user | (rng.random(len(rows)) < config.attribute_dropout)
        total, share = len(rows), slice(self._workers.rank, None, self._workers.count)
        rows = rows[share]
        user, movie = self._ratings.user[rows], self._ratings.movie[rows]
        distinct, row = np.unique(movie, return_inverse=True)
        genres, title = self._movies["genres"][distinct], self._movies["title"][distinct]
        genres[hidden["genres"][distinct]] = np.eye(1, genres.shape[1], UNKNOWN)
        title[hidden["title"][distinct]] = UNKNOWN
        return Batch(
            user={
                name: np.where(hidden[name][share], UNKNOWN, column[user])
                for name, column in self._users.items()
            },
            movie={
                "movie_id": np.where(
                    hidden["movie_id"][share], UNKNOWN, self._movies["movie_id"][movie]
                ),
                "genres": genres,
                "title": title,
                "row": row,
            },
            stars=self._ratings.stars[rows],
            total=total,
        )

    def _epoch(self, epoch: int) -> Rows:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self._config.seed, epoch])
            self._order = (epoch, rng.permutation(self._rows))
        return self._order[1]
