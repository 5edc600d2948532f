"""Reads MovieLens-1M or any data set in its format: three files with `::` between the fields.

    users.dat    UserID::Gender::Age::Occupation::Zip-code
    movies.dat   MovieID::Title (Year)::Genre|Genre
    ratings.dat  UserID::MovieID::Rating::Timestamp

The original is latin-1; a file that is valid UTF-8 is read as that. The format is that of
https://files.grouplens.org/datasets/movielens/ml-1m-README.txt.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fusion.records import MAX_YEAR, MIN_YEAR, Movie, RecordError, User, check_movie, check_user
from training.errors import DataError

MIN_STARS, MAX_STARS = 1, 5

_TITLE = re.compile(r"(.*?)\s*\((\d{4})\)\s*")
_RATINGS = re.compile(rb"(?:\d{1,18}::\d{1,18}::[1-5]::\d{1,18}\r?\n)+")

Record = TypeVar("Record")


@dataclass(frozen=True)
class BadLine:
    """A malformed line that was skipped."""

    file: str
    """Name of the file."""
    number: int
    """Line number, from 1."""
    reason: str
    """What is wrong with the line."""

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}: {self.reason}"


@dataclass(frozen=True)
class Ratings:
    """Ratings as columns of equal length."""

    user: NDArray[np.int64]
    """Row of the user in `Dataset.users`."""
    movie: NDArray[np.int64]
    """Row of the movie in `Dataset.movies`."""
    stars: NDArray[np.float32]
    """1 to 5."""
    timestamp: NDArray[np.int64]
    """Seconds since 1970."""

    def __len__(self) -> int:
        return len(self.stars)


@dataclass(frozen=True)
class Dataset:
    """The content of the three files, in file order."""

    users: tuple[User, ...]
    movies: tuple[Movie, ...]
    ratings: Ratings
    fingerprint: str
    """12 hexadecimal digits that identify the content of the files."""
    skipped: tuple[BadLine, ...] = ()
    """Malformed lines that were skipped."""


def load(path: Path, *, skip_bad_lines: bool = False) -> Dataset:
    """Read a data set from its folder or zip.

    Args:
        path: Folder or zip that holds the three files; in a zip they may be at any depth.
        skip_bad_lines: Skip malformed lines, and list them.

    Raises:
        DataError: A file is missing or a line is malformed; the message names file and line.
    """
    reader = _Reader(skip_bad_lines)
    content = {name: _content(path, name) for name in ("users.dat", "movies.dat", "ratings.dat")}
    users = reader.records("users.dat", content["users.dat"], parse_user)
    movies = reader.records("movies.dat", content["movies.dat"], parse_movie)
    ratings = _ratings(reader, content["ratings.dat"], list(users), list(movies))
    if not len(ratings):
        raise DataError(f"{path} holds no ratings.")
    fingerprint = hashlib.sha256(b"".join(content.values())).hexdigest()[:12]
    return Dataset(
        tuple(users.values()), tuple(movies.values()), ratings, fingerprint, tuple(reader.skipped)
    )


def read_movies(path: Path, *, skip_bad_lines: bool = False) -> tuple[list[Movie], list[BadLine]]:
    """Read a raw movies file of any name, without the other files.

    Returns:
        The movies, and the lines that were skipped.

    Raises:
        DataError: The file cannot be read or a line is malformed; the message names file and line.
    """
    reader = _Reader(skip_bad_lines)
    movies = reader.records(path.name, _read(path), parse_movie)
    return list(movies.values()), reader.skipped


def parse_user(line: str) -> tuple[int, User]:
    """Parse a line of users.dat into id and user; the zip code is ignored.

    Raises:
        ValueError: The line is malformed; the message is the reason.
    """
    fields = _fields(line, "UserID::Gender::Age::Occupation::Zip-code")
    user_id = _integer(fields[0], "UserID")
    age, occupation = _integer(fields[2], "Age"), _integer(fields[3], "Occupation")
    user = User(user_id, fields[1], age, occupation)  # type: ignore[arg-type]  # checked next
    check_user(user)
    return user_id, user


def parse_movie(line: str) -> tuple[int, Movie]:
    """Parse a line of movies.dat into id and movie; "Toy Story (1995)" is title and year.

    Raises:
        ValueError: The line is malformed; the message is the reason.
    """
    fields = _fields(line, "MovieID::Title::Genres")
    movie_id = _integer(fields[0], "MovieID")
    genres = tuple(genre for genre in fields[2].split("|") if genre)
    movie = Movie(movie_id, *split_title(fields[1]), genres)
    if not movie.title:
        raise RecordError("title", "it is empty")
    check_movie(movie)
    return movie_id, movie


def split_title(text: str) -> tuple[str, int | None]:
    """Split "Title (year)" into title and year; without a valid year, all of it is the title."""
    match = _TITLE.fullmatch(text)
    if match and match[1] and MIN_YEAR <= int(match[2]) <= MAX_YEAR:
        return match[1], int(match[2])
    return text.strip(), None


class _Reader:
    """Parses lines, and either fails at the first malformed one or collects them."""

    def __init__(self, skip_bad_lines: bool) -> None:
        self._skip = skip_bad_lines
        self.skipped: list[BadLine] = []

    def records(
        self, file: str, content: bytes, parse: Callable[[str], tuple[int, Record]]
    ) -> dict[int, Record]:
        records: dict[int, Record] = {}
        for number, line in _lines(content):
            try:
                key, record = parse(line)
                if key in records:
                    raise ValueError(f"the id {key} is a duplicate")
            except ValueError as error:
                self.reject(file, number, str(error))
            else:
                records[key] = record
        return records

    def reject(self, file: str, number: int, reason: str) -> None:
        line = BadLine(file, number, reason)
        if not self._skip:
            raise DataError(f"{line}.")
        self.skipped.append(line)


def _ratings(
    reader: _Reader, content: bytes, user_ids: Sequence[int], movie_ids: Sequence[int]
) -> Ratings:
    # There are a million lines, nearly always without an error: then all are parsed at once. Only
    # if there is an error are they parsed one by one.
    if _RATINGS.fullmatch(content if content.endswith(b"\n") else content + b"\n"):
        table = np.array(content.replace(b"::", b" ").split(), dtype=np.int64).reshape(-1, 4)
        users, movies = _rows(user_ids, table[:, 0]), _rows(movie_ids, table[:, 1])
        if (users >= 0).all() and (movies >= 0).all():
            return Ratings(users, movies, table[:, 2].astype(np.float32), table[:, 3].copy())
    known_users, known_movies = set(user_ids), set(movie_ids)
    good = []
    for number, line in _lines(content):
        try:
            good.append(_rating(line, known_users, known_movies))
        except ValueError as error:
            reader.reject("ratings.dat", number, str(error))
    table = np.array(good, dtype=np.int64).reshape(-1, 4)
    return Ratings(
        _rows(user_ids, table[:, 0]),
        _rows(movie_ids, table[:, 1]),
        table[:, 2].astype(np.float32),
        table[:, 3].copy(),
    )


def _rating(line: str, users: set[int], movies: set[int]) -> tuple[int, int, int, int]:
    names = "UserID::MovieID::Rating::Timestamp"
    values = [
        _integer(field, name)
        for field, name in zip(_fields(line, names), names.split("::"), strict=True)
    ]
    user, movie, stars, timestamp = values
    if user not in users:
        raise ValueError(f"UserID {user} is not in users.dat")
    if movie not in movies:
        raise ValueError(f"MovieID {movie} is not in movies.dat")
    if not MIN_STARS <= stars <= MAX_STARS:
        raise ValueError(f"Rating {stars} is not in {MIN_STARS} to {MAX_STARS}")
    return user, movie, stars, timestamp


def _rows(ids: Sequence[int], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of each wanted id in `ids`, -1 if it is missing."""
    known = np.array(ids, dtype=np.int64)
    order = np.argsort(known)
    places = np.searchsorted(known, wanted, sorter=order)
    rows = np.append(order, -1)[places]
    return np.where(np.append(known, -1)[rows] == wanted, rows, -1)


def _fields(line: str, names: str) -> list[str]:
    fields, expected = line.split("::"), names.split("::")
    if len(fields) != len(expected):
        raise ValueError(f"found {len(fields)} fields, expected {names}")
    return fields


def _integer(text: str, name: str) -> int:
    # int() alone would accept " 1_000 " and the digits of other alphabets.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{name} {text!r} is not a number")
    return int(text)


def _lines(content: bytes) -> Iterator[tuple[int, str]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # Not splitlines, which also splits at characters that may occur in a title.
    lines = text.removesuffix("\n").split("\n") if text else []
    return ((number, line.removesuffix("\r")) for number, line in enumerate(lines, start=1))


def _content(path: Path, name: str) -> bytes:
    if path.is_dir():
        return _read(path / name)
    if not path.exists():
        raise DataError(f"{path} is missing.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if m.rpartition("/")[2] == name]
            if len(members) != 1:
                raise DataError(f"{path} holds {len(members)} files named {name}, not one.")
            return archive.read(members[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is neither a folder nor a readable zip: {error}.") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
