"""What an evaluated model is told about users, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fusion.records import User
from training.evaluation.splits import Split

Rows = NDArray[np.int64]
"""Indices of users or of movies of a split."""


@dataclass(frozen=True)
class Audience:
    """What is known about some users when a model is asked; nothing else of them may be used."""

    users: tuple[User, ...]
    """Id, gender, age and occupation, None where hidden."""
    rated: csr_matrix
    """Stars of the movies in their histories, float32 [users, movies]; rows may be empty."""

    def __len__(self) -> int:
        return len(self.users)


class Ranker(Protocol):
    """A model that orders the catalogue."""

    def scores(self, audience: Audience) -> NDArray[np.float32]:
        """Return the score of every movie for each user, float32 [users, movies], best highest."""


class Rater(Protocol):
    """A model that predicts ratings."""

    def ratings(self, audience: Audience, user: Rows, movie: Rows) -> NDArray[np.float64]:
        """Predict ratings in stars, float64 [n].

        Args:
            audience: What is known about the users.
            user: Row of each pair's user in the audience, ascending.
            movie: Row of each pair's movie in the split.
        """


@dataclass(frozen=True)
class FittedRanker:
    """A ranker, and how its choices were made."""

    ranker: Ranker
    tried: Mapping[str, float] = field(default_factory=dict)
    """NDCG@10 on validation by what was tried, the best of which was taken."""


@dataclass(frozen=True)
class FittedRater:
    """A rater, and how its choices were made."""

    rater: Rater
    tried: Mapping[str, float] = field(default_factory=dict)
    """RMSE on validation by what was tried, the best of which was taken."""


FitRanker = Callable[[Split], FittedRanker]
"""Fits a ranker to the training part of a split; tuning looks at its validation part only."""
FitRater = Callable[[Split], FittedRater]
"""The same for a rater."""


def ones(ratings: csr_matrix) -> csr_matrix:
    """Return a matrix with 1 wherever there is a rating, float32."""
    return csr_matrix(
        (np.ones(ratings.nnz, dtype=np.float32), ratings.indices, ratings.indptr),
        shape=ratings.shape,
    )
