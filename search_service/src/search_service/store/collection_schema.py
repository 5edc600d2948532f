"""Schema of the Milvus collection that holds an index and its movies.

A movie has a field each for id, vector, title, year, the set of genres as bits, and revision, and a
boolean field for each genre, by which both Milvus and Milvus Lite filter fastest (README.md has the
measurement). The collection's properties hold the index's spec, because Milvus Lite stores no
description.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_service.index.vector_index import IndexedMovie, IndexSpec

ID = "id"
VECTOR = "vector"
TITLE = "title"
YEAR = "year"
GENRES = "genres"
REVISION = "revision"
"""Random number that an upsert gives to its movies: a movie with the same one has not changed. It
says nothing about the order of writes, which no clock of a writer could."""
MOVIE_FIELDS = [ID, TITLE, YEAR, GENRES]
"""Fields that `movie` needs."""
STORED_FIELDS = [*MOVIE_FIELDS, VECTOR, REVISION]
"""Fields that `stored_movie` needs."""

MAX_TITLE_BYTES = 512
"""Maximum length of the title field, equal to the limit of Movie.title in the contract."""

Row = dict[str, Any]
"""An entity of the collection: values by field name."""

_MODEL = "marquee.model_version"
_GENRE_NAMES = "marquee.genres"
_METRIC = "marquee.metric"
_EDITION = "marquee.edition"
_SUITE = "marquee.suite"

DEFAULT_SUITE = "marquee"
"""Suite of collections that name none."""


class StoredMovie(NamedTuple):
    """A movie with its vector and revision."""

    movie: IndexedMovie
    vector: NDArray[np.float32]
    revision: int


def genre_field(position: int) -> str:
    """Return the boolean field of the genre at this position in the index's genres."""
    return f"genre_{position:d}"


def suite_property(suite: str) -> dict[str, str]:
    """Return the collection property that names the suite that a collection belongs to."""
    return {_SUITE: suite}


def properties(index: IndexSpec, suite: str = DEFAULT_SUITE) -> dict[str, str]:
    """Return the collection properties that hold an index's spec and the suite it belongs to."""
    return {
        **suite_property(suite),
        _MODEL: index.model_version,
        _GENRE_NAMES: json.dumps(index.genres),
        _METRIC: index.metric,
    }


def spec(description: Mapping[str, Any]) -> IndexSpec | None:
    """Return the index that a collection holds. None: this service did not create it.

    Args:
        description: Answer of Milvus's DescribeCollection.
    """
    stored = description["properties"]
    if _MODEL not in stored:
        return None
    (vector,) = (field for field in description["fields"] if field["name"] == VECTOR)
    return IndexSpec(
        name=description["collection_name"],
        model_version=stored[_MODEL],
        dimension=int(vector["params"]["dim"]),
        genres=tuple(json.loads(stored[_GENRE_NAMES])),
        metric=stored[_METRIC],
        incarnation=description["collection_id"],
    )


def suite(description: Mapping[str, Any]) -> str:
    """Return the suite in a collection's description."""
    return str(description["properties"].get(_SUITE, DEFAULT_SUITE))


def edition(description: Mapping[str, Any]) -> str:
    """Return the edition in a collection's description. Empty: nothing has been written yet."""
    return str(description["properties"].get(_EDITION, ""))


def edition_property(edition: str) -> dict[str, str]:
    """Return the collection property that sets an edition."""
    return {_EDITION: edition}


def rows(
    index: IndexSpec, movies: Sequence[IndexedMovie], vectors: NDArray[np.float32], revision: int
) -> Iterator[Row]:
    """Yield the row of each movie.

    Args:
        index: The index; it has all genres of the movies.
        movies: The movies.
        vectors: One row for each movie.
        revision: Revision of all of them.
    """
    fields = [genre_field(position) for position in range(len(index.genres))]
    for movie, vector in zip(movies, vectors, strict=True):
        positions = {index.positions[genre] for genre in movie.genres}
        yield {
            ID: movie.movie_id,
            VECTOR: vector,
            TITLE: movie.title,
            YEAR: movie.year,
            GENRES: sum(1 << position for position in positions),
            REVISION: revision,
            **{field: position in positions for position, field in enumerate(fields)},
        }


def movie(index: IndexSpec, row: Mapping[str, Any]) -> IndexedMovie:
    """Return the movie in a row that has `MOVIE_FIELDS`."""
    bits = row[GENRES]
    genres = (genre for position, genre in enumerate(index.genres) if bits >> position & 1)
    return IndexedMovie(row[ID], row[TITLE], row[YEAR], tuple(genres))


def stored_movie(index: IndexSpec, row: Mapping[str, Any]) -> StoredMovie:
    """Return the movie in a row that has `STORED_FIELDS`."""
    return StoredMovie(movie(index, row), np.array(row[VECTOR], np.float32), row[REVISION])
