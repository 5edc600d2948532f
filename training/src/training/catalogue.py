"""movies.jsonl: the catalogue that is indexed, one JSON object a line.

{"movie_id": 1, "title": "Toy Story", "year": 1995, "genres": ["Animation", "Comedy"]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fusion.durable_files import replace_file
from fusion.records import Movie, RecordError, check_movie
from training.errors import DataError


def write_catalogue(path: Path, movies: Iterable[Movie]) -> None:
    """Write movies.jsonl in UTF-8, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    with draft.open("w", encoding="utf-8") as lines:
        for movie in movies:
            lines.write(json.dumps(movie._asdict(), ensure_ascii=False) + "\n")
    replace_file(draft, path)


def read_catalogue(path: Path) -> list[Movie]:
    """Read movies.jsonl; every movie has an id, and no two have the same.

    Raises:
        DataError: The file cannot be read, or a line is not a valid movie; the message names file
            and line.
    """
    try:
        # Not splitlines, which also splits at characters that may occur in a title.
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
            raise DataError(f"{path}, line {number}: movie_id is missing or a duplicate.")
        movies[movie.movie_id] = movie
    return list(movies.values())


def _movie(content: object) -> Movie:
    if not isinstance(content, dict):
        raise TypeError("not a JSON object")
    movie = Movie(**content)
    types = {"movie_id": int, "title": str, "year": int | None, "genres": list}
    for field, expected in types.items():
        if not isinstance(getattr(movie, field), expected):
            raise RecordError(field, f"{getattr(movie, field)!r} is of the wrong type")
    if not all(isinstance(genre, str) for genre in movie.genres):
        raise RecordError("genres", "not all of them are strings")
    movie = Movie(movie.movie_id, movie.title, movie.year, tuple(movie.genres))
    check_movie(movie)
    return movie
