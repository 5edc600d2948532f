"""What is known about a person and about a movie, before any model sees it.

Codes and ranges are those of the README of MovieLens-1M
(https://files.grouplens.org/datasets/movielens/ml-1m-README.txt).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal, NamedTuple

Gender = Literal["F", "M"]

GENDERS: tuple[Gender, ...] = ("F", "M")

AGE_BUCKETS = (1, 18, 25, 35, 45, 50, 56)
"""First year of each age bucket; a bucket is known by it, so its code is a valid age too."""

MIN_AGE, MAX_AGE = 1, 120
"""Range of an age, in years, both ends included."""

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
"""Names of the occupations; the place of a name is its code."""

MIN_YEAR, MAX_YEAR = 1870, 2200
"""Range of a year of release, both ends included."""

MAX_TITLE_BYTES = 512
"""Longest title, in bytes of UTF-8."""

MAX_GENRES = 64
"""Most genres of one movie."""

MAX_ID = 2**63 - 1
"""Largest id: what an int64 holds."""


class RecordError(ValueError):
    """A record holds a value that has no meaning.

    Attributes:
        field: Name of the field, as in the record.
        reason: What is wrong with it, for a person to read.
        row: Place of the record in its batch, counted from 0; None outside a batch.
    """

    def __init__(self, field: str, reason: str, row: int | None = None) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.row = row


class User(NamedTuple):
    """Any subset of what is known about a person; None is unknown.

    Attributes:
        user_id: Id in the data set, 1 or more.
        gender: "F" or "M".
        age: In years, `MIN_AGE` to `MAX_AGE`.
        occupation: Code, a place in `OCCUPATIONS`.
    """

    user_id: int | None = None
    gender: Gender | None = None
    age: int | None = None
    occupation: int | None = None


class Movie(NamedTuple):
    """A movie of the catalogue; None or empty is unknown.

    Attributes:
        movie_id: Id in the catalogue, 1 or more.
        title: Without the year; "" is unknown. At most `MAX_TITLE_BYTES` of UTF-8.
        year: Of release, `MIN_YEAR` to `MAX_YEAR`.
        genres: Names, at most `MAX_GENRES`; their order says nothing.
    """

    movie_id: int | None = None
    title: str = ""
    year: int | None = None
    genres: tuple[str, ...] = ()


def age_bucket(years: int) -> int:
    """The bucket of `AGE_BUCKETS` that an age in years falls into: 32 → 25.

    Raises:
        RecordError: The age is out of range.
    """
    if not MIN_AGE <= years <= MAX_AGE:
        raise RecordError("age", f"{years} is not in {MIN_AGE} to {MAX_AGE} years")
    return AGE_BUCKETS[bisect_right(AGE_BUCKETS, years) - 1]


def occupation_code(text: str) -> int:
    """The code of an occupation given by its name or by the code itself: "programmer" → 12.

    Upper and lower case are the same.

    Raises:
        RecordError: No occupation has that name or code.
    """
    wanted = text.strip().casefold()
    for code, name in enumerate(OCCUPATIONS):
        if wanted in (name.casefold(), str(code)):
            return code
    raise RecordError("occupation", f"{text!r} is neither a name nor a code of an occupation")


def check_user(user: User) -> None:
    """Sees that each attribute that is given has a meaning.

    Raises:
        RecordError: One has none; the error names it.
    """
    if user.user_id is not None and not 1 <= user.user_id <= MAX_ID:
        raise RecordError("user_id", f"{user.user_id} is not in 1 to {MAX_ID}")
    if user.gender is not None and user.gender not in GENDERS:
        raise RecordError("gender", f"{user.gender!r} is neither 'F' nor 'M'")
    if user.age is not None:
        age_bucket(user.age)
    if user.occupation is not None and not 0 <= user.occupation < len(OCCUPATIONS):
        raise RecordError("occupation", f"{user.occupation} is not in 0 to {len(OCCUPATIONS) - 1}")


def check_movie(movie: Movie) -> None:
    """Sees that each attribute that is given has a meaning.

    Which genres there are is a matter of the vocabulary, so `FeatureEncoder` checks their names.

    Raises:
        RecordError: An attribute has none; the error names it.
    """
    if movie.movie_id is not None and not 1 <= movie.movie_id <= MAX_ID:
        raise RecordError("movie_id", f"{movie.movie_id} is not in 1 to {MAX_ID}")
    if (size := len(movie.title.encode())) > MAX_TITLE_BYTES:
        raise RecordError("title", f"{size} bytes are more than {MAX_TITLE_BYTES}")
    if movie.year is not None and not MIN_YEAR <= movie.year <= MAX_YEAR:
        raise RecordError("year", f"{movie.year} is not in {MIN_YEAR} to {MAX_YEAR}")
    if len(movie.genres) > MAX_GENRES:
        raise RecordError("genres", f"{len(movie.genres)} genres are more than {MAX_GENRES}")
