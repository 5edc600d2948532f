"""A synthetic data set in the format of MovieLens-1M, with structure that a model can learn.

Each person has a taste for each genre: most of it follows from gender, age and occupation, and some
is personal. A rating is the mean taste for the movie's genres, plus the movie's quality, plus the
person's kindness, plus noise. People watch popular movies more often, and those that suit them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusion.records import AGE_BUCKETS, GENDERS, OCCUPATIONS
from training.movielens import MAX_STARS, MIN_STARS

GENRES = (
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The genres of MovieLens-1M."""

_ADJECTIVES = ("Last", "Secret", "Long", "Silent", "Golden", "Broken", "Wild", "Lost", "Dark")
_NOUNS = ("River", "Garden", "Letter", "Summer", "Stranger", "City", "Journey", "Song", "Road")
_SPREAD = {"demographic": 0.55, "personal": 0.4, "quality": 0.5, "kindness": 0.3, "noise": 0.7}
_CHOICE = 1.0
"""How much people watch what suits them: e to the power of this more for one star more."""
_FIRST_TIMESTAMP = 956_703_932


def write(
    folder: Path,
    *,
    users: int = 600,
    movies: int = 400,
    ratings_per_user: int = 60,
    seed: int = 0,
) -> None:
    """Write users.dat, movies.dat and ratings.dat; the same arguments give the same bytes.

    Args:
        folder: Folder of the files; created if missing.
        users: Number of people.
        movies: Number of movies.
        ratings_per_user: Number of ratings of each person, all of different movies.
        seed: Seed of all randomness.

    Raises:
        ValueError: There are no users, or fewer movies than each of them rates.
    """
    if not 1 <= ratings_per_user <= movies or users < 1:
        raise ValueError("there must be users, and at least as many movies as each of them rates")
    rng = np.random.default_rng(seed)
    people = np.column_stack(
        [rng.integers(0, n, users) for n in (len(GENDERS), len(AGE_BUCKETS), len(OCCUPATIONS))]
    )
    genres = _genres(rng, movies)
    expected = _expected_stars(rng, people, genres)
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "users.dat",
        (
            f"{row + 1}::{GENDERS[g]}::{AGE_BUCKETS[a]}::{o}::{10_000 + row:05d}"
            for row, (g, a, o) in enumerate(people)
        ),
    )
    _write(
        folder / "movies.dat",
        (
            f"{row + 1}::{_title(rng, row)}::{'|'.join(np.array(GENRES)[has]) or 'Drama'}"
            for row, has in enumerate(genres)
        ),
    )
    _write(folder / "ratings.dat", _ratings(rng, expected, ratings_per_user))


def _genres(rng: np.random.Generator, movies: int) -> NDArray[np.bool_]:
    has = np.zeros((movies, len(GENRES)), dtype=np.bool_)
    for row in range(movies):
        has[row, rng.choice(len(GENRES), size=rng.integers(1, 4), replace=False)] = True
    return has


def _expected_stars(
    rng: np.random.Generator, people: NDArray[np.int64], genres: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the rating of each movie by each person without noise: [users, movies]."""
    users, kinds = len(people), genres.shape[1]
    taste = rng.normal(0, _SPREAD["personal"], (users, kinds))
    for attribute in people.T:
        taste += rng.normal(0, _SPREAD["demographic"], (attribute.max() + 1, kinds))[attribute]
    liking = taste @ (genres / genres.sum(axis=1, keepdims=True)).T
    kindness = rng.normal(0, _SPREAD["kindness"], (users, 1))
    quality = rng.normal(0, _SPREAD["quality"], (1, len(genres)))
    return np.asarray(3.5 + liking + kindness + quality)


def _ratings(rng: np.random.Generator, expected: NDArray[np.float64], each: int) -> list[str]:
    users, movies = expected.shape
    popularity = 1 / np.arange(1, movies + 1) ** 0.5
    popularity = rng.permutation(popularity / popularity.sum())
    chance = popularity * np.exp(_CHOICE * expected)
    chance /= chance.sum(axis=1, keepdims=True)
    lines = []
    for user in range(users):
        rated = rng.choice(movies, size=each, replace=False, p=chance[user])
        noise = rng.normal(0, _SPREAD["noise"], each)
        stars = np.rint(expected[user, rated] + noise).clip(MIN_STARS, MAX_STARS).astype(int)
        start = _FIRST_TIMESTAMP + int(rng.integers(0, 10**7))
        lines += [
            f"{user + 1}::{movie + 1}::{star}::{start + 60 * place}"
            for place, (movie, star) in enumerate(zip(rated, stars, strict=True))
        ]
    return lines


def _title(rng: np.random.Generator, row: int) -> str:
    name = f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)} {row + 1}"
    return f"{name}, The ({rng.integers(1930, 2001)})"


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
