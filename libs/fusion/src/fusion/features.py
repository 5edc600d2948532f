"""The one way in which a record becomes the numbers of a tower; training and serving call it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fusion.records import (
    AGE_BUCKETS,
    GENDERS,
    MAX_AGE,
    MIN_AGE,
    OCCUPATIONS,
    Gender,
    Movie,
    RecordError,
    User,
    age_bucket,
    check_movie,
    check_user,
)
from fusion.vocabulary import UNKNOWN, Vocabulary

Row = TypeVar("Row")

Features = dict[str, NDArray[Any]]
"""Inputs of a tower by name; the first axis of each is the batch."""

TITLE_LENGTH = 10
"""Words of a title that the model reads; 19 of the 3,883 titles of MovieLens-1M have more."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


UserFields = tuple[int | None, Gender | None, int | None, int | None]
"""What a `User` holds, in its order; a User is one."""

UserRow = tuple[int, int, int, int]
"""Indices of one user: id, gender, age, occupation."""

MovieRow = tuple[int, list[int], list[int]]
"""Indices of one movie: id, genres (at least one), words of the title."""


class Indexed(NamedTuple, Generic[Row]):
    """Records as indices into the vocabularies: checked, and cheap to put together with others.

    Attributes:
        rows: One for each record.
        unknown_rows: Rows, ascending, whose id was given but is not in the vocabulary; they are
            indexed as having none.
    """

    rows: list[Row]
    unknown_rows: list[int]


class Encoded(NamedTuple):
    """A batch, ready for its tower.

    Attributes:
        features: Inputs by name, see `FeatureEncoder`.
        unknown_rows: Rows, ascending, whose id was given but is not in the vocabulary; they are
            encoded as having none.
    """

    features: Features
    unknown_rows: list[int]


@dataclass(frozen=True)
class Vocabularies:
    """One vocabulary for each attribute.

    Attributes:
        user_id: Ids of the users that the model was trained on.
        gender: "F" and "M".
        age: First years of the age buckets.
        occupation: Codes.
        movie_id: Ids of the catalogue that the model was trained on.
        genre: Names.
        title_word: Words, as `words` makes them.
    """

    user_id: Vocabulary[int]
    gender: Vocabulary[str]
    age: Vocabulary[int]
    occupation: Vocabulary[int]
    movie_id: Vocabulary[int]
    genre: Vocabulary[str]
    title_word: Vocabulary[str]

    @classmethod
    def of(
        cls, users: Iterable[User], movies: Iterable[Movie], *, min_word_count: int = 2
    ) -> Vocabularies:
        """The vocabularies of a data set; the same records in any order give the same ones.

        Args:
            users: All of them.
            movies: The catalogue.
            min_word_count: Titles that a word must occur in. What stands in one title alone tells
                a model nothing about another movie.
        """
        movies = list(movies)
        counts = Counter(word for movie in movies for word in set(words(movie.title)))
        return cls(
            user_id=Vocabulary(sorted({u.user_id for u in users if u.user_id is not None})),
            gender=Vocabulary(GENDERS),
            age=Vocabulary(AGE_BUCKETS),
            occupation=Vocabulary(range(len(OCCUPATIONS))),
            movie_id=Vocabulary(sorted({m.movie_id for m in movies if m.movie_id is not None})),
            genre=Vocabulary(sorted({genre for movie in movies for genre in movie.genres})),
            title_word=Vocabulary(sorted(w for w, n in counts.items() if n >= min_word_count)),
        )

    def sizes(self) -> dict[str, int]:
        """Entries of each vocabulary by its name, the unknown entry included."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}


class FeatureEncoder:
    """Turns records into the inputs of the towers: first into indices, then into arrays.

    Users: `user_id`, `gender`, `age`, `occupation`, int64 of shape [n], indices into their
    vocabularies. Movies: `movie_id`, int64 [n]; `genres`, float32 [n, len(vocabularies.genre)],
    1 for each genre that the movie has, or 1 in column 0 if none is known; `title`, int64
    [n, title_length], word indices, 0 where there is no word or none that is known.

    Args:
        vocabularies: Of the data set that the model is trained on.
        title_length: Words of a title that are kept.
    """

    def __init__(self, vocabularies: Vocabularies, title_length: int = TITLE_LENGTH) -> None:
        if title_length < 1:
            raise ValueError("a title has room for at least one word")
        self.vocabularies = vocabularies
        self.title_length = title_length
        # Every value that has a meaning, so that one look-up both checks and finds.
        known = vocabularies
        self._genders = {each: known.gender.index(each) for each in (None, *GENDERS)}
        self._ages: dict[int | None, int] = {None: UNKNOWN} | {
            years: known.age.index(age_bucket(years)) for years in range(MIN_AGE, MAX_AGE + 1)
        }
        self._occupations = {
            each: known.occupation.index(each) for each in (None, *range(len(OCCUPATIONS)))
        }

    def users(self, users: Sequence[User]) -> Encoded:
        """Encodes a batch of users; an empty batch gives empty arrays.

        Raises:
            RecordError: A record holds a value without meaning; the error knows row and field.
        """
        rows, unknown_rows = self.index_users(users)
        return Encoded(self.user_features(rows), unknown_rows)

    def movies(self, movies: Sequence[Movie]) -> Encoded:
        """Encodes a batch of movies; an empty batch gives empty arrays.

        Raises:
            RecordError: A record holds a value without meaning, or a genre that is not in the
                vocabulary; the error knows row and field.
        """
        rows, unknown_rows = self.index_movies(movies)
        return Encoded(self.movie_features(rows), unknown_rows)

    def index_users(self, users: Iterable[UserFields]) -> Indexed[UserRow]:
        """Looks users up; raises as `users` does."""
        index = self.vocabularies.user_id.index
        genders, ages, occupations = self._genders, self._ages, self._occupations
        rows: list[UserRow] = []
        unknown_rows = []
        for row, (user_id, gender, age, occupation) in enumerate(users):
            place = index(user_id)
            try:
                rows.append((place, genders[gender], ages[age], occupations[occupation]))
            except KeyError:
                user = User(user_id, gender, age, occupation)
                _check(user, row)
                raise RecordError("user", f"{user} has a value of another type", row) from None
            if place == UNKNOWN and user_id is not None:
                _check(User(user_id), row)
                unknown_rows.append(row)
        return Indexed(rows, unknown_rows)

    def index_movies(self, movies: Iterable[Movie]) -> Indexed[MovieRow]:
        """Looks movies up; raises as `movies` does."""
        known = self.vocabularies
        rows: list[MovieRow] = []
        unknown_rows = []
        for row, movie in enumerate(movies):
            try:
                check_movie(movie)
                columns = self._genre_columns(movie)
            except RecordError as error:
                raise RecordError(error.field, error.reason, row) from None
            place = known.movie_id.index(movie.movie_id)
            if place == UNKNOWN and movie.movie_id is not None:
                unknown_rows.append(row)
            title = [known.title_word.index(word) for word in words(movie.title)]
            rows.append((place, columns, title[: self.title_length]))
        return Indexed(rows, unknown_rows)

    def user_features(self, rows: Sequence[UserRow]) -> Features:
        """Puts looked up users together as the inputs of their tower."""
        # One conversion for the batch: numpy's element access costs more than the look-ups.
        flat = np.fromiter(chain.from_iterable(rows), np.int64, 4 * len(rows))
        table = flat.reshape(-1, 4).T.copy()
        return dict(zip(("user_id", "gender", "age", "occupation"), table, strict=True))

    def movie_features(self, rows: Sequence[MovieRow]) -> Features:
        """Puts looked up movies together as the inputs of their tower."""
        ids = np.array([place for place, _, _ in rows], dtype=np.int64)
        genres = np.zeros((len(rows), len(self.vocabularies.genre)), dtype=np.float32)
        titles = np.zeros((len(rows), self.title_length), dtype=np.int64)
        for row, (_, columns, title) in enumerate(rows):
            genres[row, columns] = 1.0
            titles[row, : len(title)] = title
        return {"movie_id": ids, "genres": genres, "title": titles}

    def to_dict(self) -> dict[str, Any]:
        """All that makes this encoder, as JSON values; `from_dict` is the way back."""
        named = {f.name: getattr(self.vocabularies, f.name) for f in fields(self.vocabularies)}
        return {
            "title_length": self.title_length,
            "vocabularies": {name: list(known.values) for name, known in named.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FeatureEncoder:
        """The encoder that `to_dict` wrote.

        Raises:
            ValueError: Something is missing or of another kind.
        """
        try:
            named = content["vocabularies"]
            known = {field.name: Vocabulary(named[field.name]) for field in fields(Vocabularies)}
            return cls(Vocabularies(**known), content["title_length"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoder can be made of it: {error!r}") from error

    def _genre_columns(self, movie: Movie) -> list[int]:
        columns = []
        for genre in movie.genres:
            column = self.vocabularies.genre.index(genre)
            if column == UNKNOWN:
                names = ", ".join(self.vocabularies.genre.values)
                raise RecordError("genres", f"{genre!r} is not a genre of this model: {names}")
            columns.append(column)
        return columns or [UNKNOWN]


def _check(user: User, row: int) -> None:
    try:
        check_user(user)
    except RecordError as error:
        raise RecordError(error.field, error.reason, row) from None


def words(title: str) -> list[str]:
    """The words of a title, in lower case: "Schindler's List" → ["schindler's", "list"].

    Digits belong to words; compatibility forms, typographic apostrophes and accents are undone,
    so that "Café" and "cafe" are one word however they were typed.
    """
    plain = unicodedata.normalize("NFKD", title.replace("\u2019", "'"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return _WORD.findall(plain.casefold())
