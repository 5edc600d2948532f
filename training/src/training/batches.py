"""From a data set to the inputs of the model, batch by batch."""

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


@dataclass(frozen=True)
class Split:
    """Which ratings are for what; places in `Dataset.ratings`."""

    train: Rows
    validation: Rows
    test: Rows

    @classmethod
    def of(cls, count: int, config: Config) -> Split:
        """A random split of so many ratings, always the same for the same seed and shares.

        Raises:
            DataError: There are too few ratings for the shares.
        """
        order = np.random.default_rng(config.seed).permutation(count)
        tested = round(count * config.test_share)
        validated = tested + round((count - tested) * config.validation_share)
        split = cls(order[validated:], order[tested:validated], order[:tested])
        if not (len(split.train) and len(split.validation) and len(split.test)):
            raise DataError(f"{count} ratings are too few to be split for training and evaluation.")
        return split


@dataclass(frozen=True)
class Batch:
    """One step's worth of ratings.

    Attributes:
        user: Inputs of the user tower by name.
        movie: Inputs of the movie tower by name.
        stars: The ratings, float32 [n].
        total: Ratings of this step, those of the other workers included.
    """

    user: dict[str, NDArray[Any]]
    movie: dict[str, NDArray[Any]]
    stars: NDArray[np.float32]
    total: int


class Batches:
    """The training ratings as batches, in an order of its own for each epoch.

    Whatever is random in a batch follows from seed, epoch and step alone, and not from what came
    before: this is why a run can resume anywhere, and why several workers train as one does.
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
        """Batches of an epoch, equal in size to within one rating."""
        return -(-len(self._rows) // self._config.batch_size)

    def get(self, epoch: int, step: int) -> Batch:
        """This worker's share of a batch; both count from 0."""
        config, count = self._config, len(self._movies["movie_id"])
        rows = self._epoch(epoch)[step :: self.steps]
        rng = np.random.default_rng([config.seed, epoch, step])
        stranger = rng.random(len(rows)) < config.user_dropout
        hidden = {
            "user_id": stranger | (rng.random(len(rows)) < config.user_id_dropout),
            "movie_id": rng.random(len(rows)) < config.movie_id_dropout,
            "genres": rng.random(count) < config.attribute_dropout,
            "title": rng.random(count) < config.attribute_dropout,
        }
        for name in ("gender", "age", "occupation"):
            hidden[name] = stranger | (rng.random(len(rows)) < config.attribute_dropout)
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
