"""Users and movies as raw records, before any model sees them.

Codes and ranges are those of the README of MovieLens-1M
(https://files.grouplens.org/datasets/movielens/ml-1m-README.txt).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

Gender = Literal["F", "M"]

GENDERS: tuple[Gender, ...] = ("F", "M")

AGE_BUCKETS = (1, 18, 25, 35, 45, 50, 56)
"""First year of each age bucket. It is also the bucket's code, so a code is a valid age."""

MIN_AGE, MAX_AGE = 1, 120
"""Valid ages in years, both ends included."""

OCCUPATIONS = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)
"""Names of the occupations; the index of a name is its code."""

MIN_YEAR, MAX_YEAR = 1870, 2200
"""Valid years of release, both ends included."""

MAX_TITLE_BYTES = 512
"""Longest valid title, in bytes of UTF-8."""

MAX_GENRES = 64
"""Most genres that one movie may have."""

MAX_HISTORY = 500
"""Most movies in a user's history, liked and disliked together."""

MAX_ID = 2**63 - 1
"""Largest valid id, the largest int64."""


class RecordError(ValueError):
    """A record holds an invalid value."""

    def __init__(self, field: str, reason: str, row: int | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        """Name of the field in the record."""
        self.reason = reason
        """What is wrong with the value, for a person to read."""
        self.row = row
        """Index of the record in its batch; None outside a batch."""


class User(NamedTuple):
    """What is known about a person; None is unknown."""

    user_id: int | None = None
    """Id in the data set, 1 or more."""
    gender: Gender | None = None
    """One of `GENDERS`."""
    age: int | None = None
    """Years, `MIN_AGE` to `MAX_AGE`."""
    occupation: int | None = None
    """Code, an index into `OCCUPATIONS`."""
    liked_movie_ids: tuple[int, ...] = ()
    """Ids of movies that the person liked lately, oldest first and newest last."""
    disliked_movie_ids: tuple[int, ...] = ()
    """Ids of movies that the person disliked lately, likewise; no movie is in both, and both
    together have at most `MAX_HISTORY`."""


class Movie(NamedTuple):
    """A movie of the catalogue; None or empty is unknown."""

    movie_id: int | None = None
    """Id in the catalogue, 1 or more."""
    title: str = ""
    """Title without the year, at most `MAX_TITLE_BYTES` of UTF-8."""
    year: int | None = None
    """Year of release, `MIN_YEAR` to `MAX_YEAR`."""
    genres: tuple[str, ...] = ()
    """Names, at most `MAX_GENRES`; their order does not matter."""


def age_bucket(years: int) -> int:
    """Return the bucket of `AGE_BUCKETS` that an age in years falls into: 32 → 25.

    Raises:
        RecordError: The age is out of range.
    """
    if not MIN_AGE <= years <= MAX_AGE:
        raise RecordError("age", f"{years} is not in {MIN_AGE} to {MAX_AGE} years")
    return AGE_BUCKETS[bisect_right(AGE_BUCKETS, years) - 1]


def occupation_code(text: str) -> int:
    """Return the code of an occupation, given its name or the code itself: "programmer" → 12.

    Case does not matter.

    Raises:
        RecordError: No occupation has that name or code.
    """
    wanted = text.strip().casefold()
    for code, name in enumerate(OCCUPATIONS):
        if wanted in (name.casefold(), str(code)):
            return code
    raise RecordError("occupation", f"{text!r} is neither a name nor a code of an occupation")


def check_user(user: User) -> None:
    """Check that each attribute is valid or unknown.

    Raises:
        RecordError: An attribute is invalid; the error names it.
    """
    if user.user_id is not None and not 1 <= user.user_id <= MAX_ID:
        raise RecordError("user_id", f"{user.user_id} is not in 1 to {MAX_ID}")
    if user.gender is not None and user.gender not in GENDERS:
        raise RecordError("gender", f"{user.gender!r} is neither 'F' nor 'M'")
    if user.age is not None:
        age_bucket(user.age)
    if user.occupation is not None and not 0 <= user.occupation < len(OCCUPATIONS):
        raise RecordError("occupation", f"{user.occupation} is not in 0 to {len(OCCUPATIONS) - 1}")
    check_history(user.liked_movie_ids, user.disliked_movie_ids)


def check_history(liked: Sequence[int], disliked: Sequence[int]) -> None:
    """Check the movies that a person liked and disliked, as `User` has them.

    Raises:
        RecordError: An id is out of range, there are too many, or a movie is in both.
    """
    for field, movie_ids in (("liked_movie_ids", liked), ("disliked_movie_ids", disliked)):
        if movie_ids and not 1 <= min(movie_ids) <= max(movie_ids) <= MAX_ID:
            bad = next(n for n, movie_id in enumerate(movie_ids) if not 1 <= movie_id <= MAX_ID)
            raise RecordError(f"{field}[{bad}]", f"{movie_ids[bad]} is not in 1 to {MAX_ID}")
    if (count := len(liked) + len(disliked)) > MAX_HISTORY:
        longer = "liked_movie_ids" if len(liked) > len(disliked) else "disliked_movie_ids"
        raise RecordError(longer, f"{count} movies in a history are more than {MAX_HISTORY}")
    if disliked and (both := set(liked).intersection(disliked)):
        raise RecordError("disliked_movie_ids", f"{min(both)} is in liked_movie_ids, too")


def check_movie(movie: Movie) -> None:
    """Check that each attribute is valid or unknown.

    The names of genres depend on the vocabulary, so `FeatureEncoder` checks those.

    Raises:
        RecordError: An attribute is invalid; the error names it.
    """
    if movie.movie_id is not None and not 1 <= movie.movie_id <= MAX_ID:
        raise RecordError("movie_id", f"{movie.movie_id} is not in 1 to {MAX_ID}")
    if (size := len(movie.title.encode())) > MAX_TITLE_BYTES:
        raise RecordError("title", f"{size} bytes are more than {MAX_TITLE_BYTES}")
    if movie.year is not None and not MIN_YEAR <= movie.year <= MAX_YEAR:
        raise RecordError("year", f"{movie.year} is not in {MIN_YEAR} to {MAX_YEAR}")
    if len(movie.genres) > MAX_GENRES:
        raise RecordError("genres", f"{len(movie.genres)} genres are more than {MAX_GENRES}")
