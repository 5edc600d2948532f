"""Splits of a data set into training, validation and test, none of which shares a pair.

The ranking splits follow RecBole's protocol for MovieLens-1M: ratings of 3 stars and more are
likes, users and movies with fewer than 10 likes are left out until none is left, and each user's
likes are split 8:1:1 at random. docs/evaluation.md has the details.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from fusion.records import Movie, User
from training.errors import DataError
from training.movielens import Dataset

LIKED_FROM = 3
"""Fewest stars of a like."""
CORE = 10
"""Fewest likes of a user and of a movie."""
PAST_SHARE = 0.8
"""Share of the ratings before the cut of a split by time."""
RATING_TEST_SHARE, VALIDATION_SHARE = 0.1, 0.02
"""Shares of the splits of all ratings; the second is of what is not tested."""

Part = NDArray[np.bool_]
"""Marks the ratings of a part."""


@dataclass(frozen=True)
class Split:
    """Users, movies, and their ratings in parts: matrices of stars, float32 [users, movies]."""

    name: str
    """Name in the results."""
    users: tuple[User, ...]
    movies: tuple[Movie, ...]
    train: csr_matrix
    """What models are fitted to, and what they are told as the users' histories."""
    validation: csr_matrix
    """What choices are made on."""
    test: csr_matrix
    """What figures are about."""
    disliked: csr_matrix
    """Ratings below a like, none of them in another part; empty where all ratings are split."""


def random_split(dataset: Dataset, seed: int) -> Split:
    """Split each user's likes 8:1:1 at random, where a fraction of a like goes to the later part.

    Raises:
        DataError: Too few users and movies have enough likes.
    """
    ratings = _Ratings.of(dataset)
    core = _core(ratings)
    place, count = _places(ratings, core, seed)
    test = core & (place >= count * 9 // 10)
    validation = core & (place >= count * 8 // 10) & ~test
    return _split("random", dataset, ratings, core, validation, test, known=~core)


def recbole_split(dataset: Dataset, seed: int) -> Split:
    """Split each user's likes 8:1:1 at random as RecBole rounds, validation and test down.

    Raises:
        DataError: Too few users and movies have enough likes.
    """
    ratings = _Ratings.of(dataset)
    core = _core(ratings)
    place, count = _places(ratings, core, seed)
    test = core & (place < count // 10)
    validation = core & (place < count // 10 * 2) & ~test
    return _split("recbole", dataset, ratings, core, validation, test, known=~core)


def time_split(dataset: Dataset, seed: int) -> Split:
    """Train on the likes before one moment, and test on those after it.

    The moment is the one before which `PAST_SHARE` of all ratings were given; unknown times (0)
    count as before. A tenth of each user's earlier likes is for validation, at random.

    Raises:
        DataError: Too few users and movies have enough likes, or all have the same time.
    """
    ratings = _Ratings.of(dataset)
    core, past = _core(ratings), _past(ratings)
    place, count = _places(ratings, core & past, seed)
    validation = core & past & (place < count // 10)
    return _split("time", dataset, ratings, core, validation, core & ~past, known=~core & past)


def rating_split(dataset: Dataset, seed: int) -> Split:
    """Split all ratings 90:10 at random; `VALIDATION_SHARE` of the 90 is for validation.

    Raises:
        DataError: There are too few ratings.
    """
    ratings = _Ratings.of(dataset)
    drawn = np.random.default_rng(seed).random(len(ratings.stars))
    test = drawn >= 1 - RATING_TEST_SHARE
    return _rating_split("ratings", dataset, ratings, test, seed)


def rating_time_split(dataset: Dataset, seed: int) -> Split:
    """Split all ratings at the moment of `time_split`; validation as in `rating_split`.

    Raises:
        DataError: All ratings have the same time.
    """
    ratings = _Ratings.of(dataset)
    return _rating_split("ratings_time", dataset, ratings, ~_past(ratings), seed)


@dataclass(frozen=True)
class _Ratings:
    """The ratings of a data set, one for each pair of user and movie."""

    user: NDArray[np.int64]
    movie: NDArray[np.int64]
    stars: NDArray[np.float32]
    timestamp: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> _Ratings:
        """Return the newest rating of each pair; of equally new ones the last."""
        all_ = dataset.ratings
        newest_first = np.lexsort((np.arange(len(all_)), all_.timestamp))[::-1]
        pair = all_.user * len(dataset.movies) + all_.movie
        _, first = np.unique(pair[newest_first], return_index=True)
        kept = np.sort(newest_first[first])
        return cls(all_.user[kept], all_.movie[kept], all_.stars[kept], all_.timestamp[kept])


def _core(ratings: _Ratings) -> Part:
    """Mark the likes that are left when all users and movies have `CORE` likes or more."""
    kept = ratings.stars >= LIKED_FROM
    while True:
        users = np.bincount(ratings.user[kept], minlength=ratings.user.max() + 1)
        movies = np.bincount(ratings.movie[kept], minlength=ratings.movie.max() + 1)
        fewer = kept & (users[ratings.user] >= CORE) & (movies[ratings.movie] >= CORE)
        if not fewer.any():
            raise DataError(f"No users and movies have {CORE} likes each: too few for a ranking.")
        if (fewer == kept).all():
            return kept
        kept = fewer


def _past(ratings: _Ratings) -> Part:
    moment = np.quantile(ratings.timestamp, PAST_SHARE, method="inverted_cdf")
    past = ratings.timestamp <= moment
    if past.all():
        raise DataError("Too many ratings have the same time: they cannot be split by time.")
    return np.asarray(past)


def _places(
    ratings: _Ratings, part: Part, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put each user's ratings of a part into a random order.

    Returns:
        For each rating its place, from 0, and how many its user has; both 0 outside of the part.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(part))
    rows = rows[np.argsort(ratings.user[rows], kind="stable")]
    user = ratings.user[rows]
    sizes = np.bincount(user)
    place, count = np.zeros((2, len(part)), dtype=np.int64)
    place[rows] = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[user]
    count[rows] = sizes[user]
    return place, count


def _rating_split(name: str, dataset: Dataset, ratings: _Ratings, test: Part, seed: int) -> Split:
    drawn = np.random.default_rng([seed, 1]).random(len(test))
    everything = np.ones(len(test), dtype=np.bool_)
    validation = ~test & (drawn < VALIDATION_SHARE)
    return _split(name, dataset, ratings, everything, validation, test, known=~everything)


def _split(
    name: str,
    dataset: Dataset,
    ratings: _Ratings,
    core: Part,
    validation: Part,
    test: Part,
    *,
    known: Part,
) -> Split:
    """Return a split of the ratings in the core; the others that are known are dislikes."""
    users, movies = np.unique(ratings.user[core]), np.unique(ratings.movie[core])
    inside = np.isin(ratings.user, users) & np.isin(ratings.movie, movies)

    def matrix(part: Part) -> csr_matrix:
        rows = np.searchsorted(users, ratings.user[part])
        columns = np.searchsorted(movies, ratings.movie[part])
        made = csr_matrix((ratings.stars[part], (rows, columns)), shape=(len(users), len(movies)))
        made.sort_indices()
        return made

    train = core & ~validation & ~test
    if not (train.any() and validation.any() and test.any()):
        raise DataError("There are too few ratings to be split for training and evaluation.")
    return Split(
        name,
        tuple(dataset.users[row] for row in users),
        tuple(dataset.movies[row] for row in movies),
        train=matrix(train),
        validation=matrix(validation),
        test=matrix(test),
        disliked=matrix(known & inside & (ratings.stars < LIKED_FROM)),
    )
