"""movies.jsonl: the catalogue that indexing consumes, one JSON object a line.

{"movie_id": 1, "title": "Toy Story", "year": 1995, "genres": ["Animation", "Comedy"]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fusion.records import Movie, RecordError, check_movie
from training.errors import DataError


def write_catalogue(path: Path, movies: Iterable[Movie]) -> None:
    """Writes movies.jsonl, UTF-8; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    with draft.open("w", encoding="utf-8") as lines:
        for movie in movies:
            lines.write(json.dumps(movie._asdict(), ensure_ascii=False) + "\n")
    draft.replace(path)


def read_catalogue(path: Path) -> list[Movie]:
    """Reads movies.jsonl; every movie has an id of its own.

    Raises:
        DataError: The file cannot be read, or a line is no movie; the message names both.
    """
    try:
        # Not splitlines: it also splits at characters that may stand in a title.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    movies: dict[int, Movie] = {}
    for number, line in enumerate(lines, start=1):
        try:
            movie = _movie(json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: {error}.") from error
        if movie.movie_id is None or movie.movie_id in movies:
            raise DataError(f"{path}, line {number}: movie_id is missing or was there before.")
        movies[movie.movie_id] = movie
    return list(movies.values())


def _movie(content: object) -> Movie:
    if not isinstance(content, dict):
        raise TypeError("not a JSON object")
    movie = Movie(**content)
    for field, kind in (("movie_id", int), ("title", str), ("year", int | None), ("genres", list)):
        if not isinstance(getattr(movie, field), kind):
            raise RecordError(field, f"{getattr(movie, field)!r} is of the wrong kind")
    if not all(isinstance(genre, str) for genre in movie.genres):
        raise RecordError("genres", "not all of them are names")
    movie = Movie(movie.movie_id, movie.title, movie.year, tuple(movie.genres))
    check_movie(movie)
    return movie
