"""What people liked and disliked, as the closed forms take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusion.features import FeatureEncoder
from training.batches import Rows
from training.errors import DataError
from training.movielens import Dataset

Matrix = NDArray[np.float32]
Counts = NDArray[np.int64]

LIKED = {3: 0.8, 4: 0.9, 5: 1.0}
"""How much a rating counts, by its stars; fewer stars tell that a movie is disliked."""

_CHUNK = 512
"""Users that are dense at once."""


class Chunk(NamedTuple):
    """Some of the users, as dense rows."""

    rows: slice
    """Which users."""
    people: Matrix
    """What is known about each, float32 [n, attributes], see `Interactions.people`."""
    liked: Matrix
    """How much each liked each movie, 0 to 1, float32 [n, movies]; 0 is unknown, too."""
    disliked: Matrix
    """1 where one disliked a movie, float32 [n, movies]."""


@dataclass(frozen=True)
class Interactions:
    """The ratings that a ranking is trained on; movies are counted as in the vocabulary, from 0."""

    people: Matrix
    """float32 [users, attributes]: 1 for the gender, age and occupation of each, less the mean of
    the column; a column for each value that the vocabularies know."""
    movies: int
    """Number of movies."""
    user: Counts
    """Row of the user in `people`; ascending."""
    movie: Counts
    """The movie of each rating."""
    liked: Matrix
    """How much it was liked, float32 [ratings], or 0 where it was disliked."""
    likes: Counts
    """Number of movies that each user liked, [users]."""

    @classmethod
    def of(cls, dataset: Dataset, rows: Rows, encoder: FeatureEncoder) -> Interactions:
        """Return some ratings of a data set.

        Args:
            dataset: The data.
            rows: Which of its ratings.
            encoder: Knows its users and movies.

        Raises:
            DataError: No rating among them has the stars of a liked movie.
        """
        ratings = dataset.ratings
        rows = rows[np.argsort(ratings.user[rows], kind="stable")]
        grade = np.zeros(6, dtype=np.float32)
        grade[list(LIKED)] = list(LIKED.values())
        liked = grade[ratings.stars[rows].astype(np.int64)]
        if not liked.any():
            raise DataError(f"No rating has {min(LIKED)} stars or more, so nothing can be ranked.")
        known, people = encoder.vocabularies, encoder.users(dataset.users).features
        table = np.concatenate(
            [
                np.eye(len(vocabulary), dtype=np.float32)[people[name]][:, 1:]
                for name, vocabulary in (
                    ("gender", known.gender),
                    ("age", known.age),
                    ("occupation", known.occupation),
                )
            ],
            axis=1,
        )
        user = ratings.user[rows]
        return cls(
            people=table - table.mean(axis=0),
            movies=len(known.movie_id) - 1,
            user=user,
            movie=encoder.movies(dataset.movies).features["movie_id"][ratings.movie[rows]] - 1,
            liked=liked,
            likes=np.bincount(user[liked > 0], minlength=len(table)),
        )

    def chunks(self) -> Iterator[Chunk]:
        """Return all users, some at a time: nothing needs them all as dense rows."""
        users = len(self.people)
        for start in range(0, users, _CHUNK):
            rows = slice(start, min(start + _CHUNK, users))
            begin, end = np.searchsorted(self.user, (rows.start, rows.stop))
            user, movie = self.user[begin:end] - start, self.movie[begin:end]
            grade = self.liked[begin:end]
            liked = np.zeros((rows.stop - start, self.movies), dtype=np.float32)
            disliked = np.zeros_like(liked)
            liked[user, movie] = grade
            disliked[user, movie] = grade == 0
            yield Chunk(rows, self.people[rows], liked, disliked)
