"""From records to the inputs of the towers: the one encoder of training and serving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fusion.records import (
    GENDERS,
    MAX_AGE,
    MIN_AGE,
    OCCUPATIONS,
    Gender,
    Movie,
    RecordError,
    User,
    age_bucket,
    check_history,
    check_movie,
    check_user,
)
from fusion.vocabularies import Vocabularies, words
from fusion.vocabulary import UNKNOWN, Vocabulary

Row = TypeVar("Row")

Features = dict[str, NDArray[Any]]
"""Inputs of a tower by name."""

TITLE_LENGTH = 10
"""Number of words of a title that the model reads; 19 of the 3,883 in MovieLens-1M have more."""

UserFields = tuple[int | None, Gender | None, int | None, int | None, Sequence[int], Sequence[int]]
"""The fields of a `User`, in order; a `User` is such a tuple."""

UserRow = tuple[int, int, int, int, list[int]]
"""Indices of one user: id, gender, age, occupation, movies of the history.

A movie that was disliked has its index and the size of the vocabulary of movies.
"""

MovieRow = tuple[int, list[int], list[int]]
"""Indices of one movie: id, genres (one or more), words of the title."""


class Indexed(NamedTuple, Generic[Row]):
    """Records as indices into the vocabularies: checked, and cheap to combine with others."""

    rows: list[Row]
    """One for each record."""
    unknown_rows: list[int]
    """Rows, ascending, whose id is given but not in the vocabulary; indexed as if not given."""
    ignored: dict[int, list[int]]
    """Movie ids of histories that the model does not know, by row; indexed as if not given."""


class Encoded(NamedTuple):
    """A batch of inputs of a tower."""

    features: Features
    """Inputs by name, see `FeatureEncoder`."""
    unknown_rows: list[int]
    """Rows, ascending, whose id is given but not in the vocabulary; encoded as if not given."""
    ignored: dict[int, list[int]]
    """Movie ids of histories that the model does not know, by row; encoded as if not given."""


class FeatureEncoder:
    """Turns records into the inputs of the towers: first into indices, then into arrays.

    Users: `user_id`, `gender`, `age`, `occupation`, int64 [n], indices into their vocabularies.
    With histories, also `history`, int64 [m], the distinct indices of movies in all histories, one
    or more, see `UserRow`; and `in_history`, float32 [n, m], 1 where a user has the movie.
    Movies: `movie_id`, int64 [n]; `genres`, float32 [n, len(vocabularies.genre)], 1 for each genre
    of the movie, or 1 in column 0 if it has none; `title`, int64 [n, title_length], word indices, 0
    for a word that is missing or unknown.

    Args:
        vocabularies: Those of the data set that the model is trained on.
        title_length: Number of words of a title to keep.
        histories: Whether the user tower takes histories. A model without them knows no movie of a
            history.
    """

    def __init__(
        self,
        vocabularies: Vocabularies,
        title_length: int = TITLE_LENGTH,
        *,
        histories: bool = False,
    ) -> None:
        if title_length < 1:
            raise ValueError("title_length must be 1 or more")
        self.vocabularies = vocabularies
        self.title_length = title_length
        self.histories = histories
        # Every valid value, so that one look-up both checks and finds.
        known = vocabularies
        self._genders = {each: known.gender.index(each) for each in (None, *GENDERS)}
        self._ages: dict[int | None, int] = {None: UNKNOWN} | {
            years: known.age.index(age_bucket(years)) for years in range(MIN_AGE, MAX_AGE + 1)
        }
        self._occupations = {
            each: known.occupation.index(each) for each in (None, *range(len(OCCUPATIONS)))
        }

    def users(self, users: Sequence[User]) -> Encoded:
        """Encode a batch of users; an empty batch gives empty arrays.

        Raises:
            RecordError: A record holds an invalid value; the error names row and field.
        """
        rows, unknown_rows, ignored = self.index_users(users)
        return Encoded(self.user_features(rows), unknown_rows, ignored)

    def movies(self, movies: Sequence[Movie]) -> Encoded:
        """Encode a batch of movies; an empty batch gives empty arrays.

        Raises:
            RecordError: A record holds an invalid value, or a genre that is not in the vocabulary;
                the error names row and field.
        """
        rows, unknown_rows, ignored = self.index_movies(movies)
        return Encoded(self.movie_features(rows), unknown_rows, ignored)

    def index_users(self, users: Iterable[UserFields]) -> Indexed[UserRow]:
        """Look up the indices of users.

        Raises:
            RecordError: As `users` does.
        """
        index = self.vocabularies.user_id.index
        genders, ages, occupations = self._genders, self._ages, self._occupations
        rows: list[UserRow] = []
        unknown_rows = []
        ignored: dict[int, list[int]] = {}
        for row, (user_id, gender, age, occupation, liked, disliked) in enumerate(users):
            id_index = index(user_id)
            history: list[int] = []
            if liked or disliked:
                history, unknown = self._index_history(list(liked), list(disliked), row)
                if unknown:
                    ignored[row] = unknown
            try:
                rows.append(
                    (id_index, genders[gender], ages[age], occupations[occupation], history)
                )
            except KeyError:
                user = User(user_id, gender, age, occupation)
                _check(user, row)
                raise RecordError("user", f"{user} has a value of another type", row) from None
            if id_index == UNKNOWN and user_id is not None:
                _check(User(user_id), row)
                unknown_rows.append(row)
        return Indexed(rows, unknown_rows, ignored)

    def index_movies(self, movies: Iterable[Movie]) -> Indexed[MovieRow]:
        """Look up the indices of movies.

        Raises:
            RecordError: As `movies` does.
        """
        known = self.vocabularies
        rows: list[MovieRow] = []
        unknown_rows = []
        for row, movie in enumerate(movies):
            try:
                check_movie(movie)
                columns = self._genre_columns(movie)
            except RecordError as error:
                raise RecordError(error.field, error.reason, row) from None
            id_index = known.movie_id.index(movie.movie_id)
            if id_index == UNKNOWN and movie.movie_id is not None:
                unknown_rows.append(row)
            title = [known.title_word.index(word) for word in words(movie.title)]
            rows.append((id_index, columns, title[: self.title_length]))
        return Indexed(rows, unknown_rows, {})

    def user_features(self, rows: Sequence[UserRow]) -> Features:
        """Return users that were looked up as the inputs of their tower."""
        # One conversion for the batch: numpy's element access costs more than the look-ups.
        flat = np.fromiter(chain.from_iterable(row[:4] for row in rows), np.int64, 4 * len(rows))
        table = flat.reshape(-1, 4).T.copy()
        features = dict(zip(("user_id", "gender", "age", "occupation"), table, strict=True))
        if self.histories:
            features |= _histories([row[4] for row in rows])
        return features

    def movie_features(self, rows: Sequence[MovieRow]) -> Features:
        """Return movies that were looked up as the inputs of their tower."""
        ids = np.array([id_index for id_index, _, _ in rows], dtype=np.int64)
        genres = np.zeros((len(rows), len(self.vocabularies.genre)), dtype=np.float32)
        titles = np.zeros((len(rows), self.title_length), dtype=np.int64)
        for row, (_, columns, title) in enumerate(rows):
            genres[row, columns] = 1.0
            titles[row, : len(title)] = title
        return {"movie_id": ids, "genres": genres, "title": titles}

    def to_dict(self) -> dict[str, Any]:
        """Return this encoder as JSON values; `from_dict` is the inverse."""
        named = {f.name: getattr(self.vocabularies, f.name) for f in fields(self.vocabularies)}
        return {
            "title_length": self.title_length,
            "histories": self.histories,
            "vocabularies": {name: list(known.values) for name, known in named.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FeatureEncoder:
        """Return the encoder that `to_dict` wrote.

        Raises:
            ValueError: A field is missing or invalid.
        """
        try:
            named = content["vocabularies"]
            known = {field.name: Vocabulary(named[field.name]) for field in fields(Vocabularies)}
            return cls(
                Vocabularies(**known),
                content["title_length"],
                histories=content.get("histories", False),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a field is missing or invalid: {error!r}") from error

    def _index_history(
        self, liked: list[int], disliked: list[int], row: int
    ) -> tuple[list[int], list[int]]:
        """Return the indices of a history, and the ids in it that are not known."""
        try:
            check_history(liked, disliked)
        except RecordError as error:
            raise RecordError(error.field, error.reason, row) from None
        if not self.histories:
            return [], liked + disliked
        movies = self.vocabularies.movie_id
        found = movies.indices(liked)
        if disliked:
            size = len(movies)
            found += [index and index + size for index in movies.indices(disliked)]
        if UNKNOWN not in found:
            return found, []
        unknown = [
            movie_id
            for movie_id, index in zip(liked + disliked, found, strict=True)
            if index == UNKNOWN
        ]
        return [index for index in found if index != UNKNOWN], unknown

    def _genre_columns(self, movie: Movie) -> list[int]:
        columns = []
        for genre in movie.genres:
            column = self.vocabularies.genre.index(genre)
            if column == UNKNOWN:
                names = ", ".join(self.vocabularies.genre.values)
                raise RecordError("genres", f"{genre!r} is not a genre of this model: {names}")
            columns.append(column)
        return columns or [UNKNOWN]


def _histories(histories: Sequence[list[int]]) -> Features:
    """Return `history` and `in_history` of a batch.

    Histories of a batch share movies, and a product with each distinct row once takes a tenth of
    the time of a sum over rows that are gathered for every user.
    """
    lengths = [len(history) for history in histories]
    count = sum(lengths)
    if not count:
        nothing = np.zeros((len(histories), 1), dtype=np.float32)
        return {"history": np.zeros(1, dtype=np.int64), "in_history": nothing}
    flat = np.fromiter(chain.from_iterable(histories), np.int64, count)
    distinct, column = np.unique(flat, return_inverse=True)
    present = np.zeros((len(histories), len(distinct)), dtype=np.float32)
    present[np.repeat(np.arange(len(histories)), lengths), column] = 1.0
    return {"history": distinct, "in_history": present}


def _check(user: User, row: int) -> None:
    try:
        check_user(user)
    except RecordError as error:
        raise RecordError(error.field, error.reason, row) from None
