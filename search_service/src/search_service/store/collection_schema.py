"""How an index and its movies are laid out in a Milvus collection.

A field each for id, vector, title, year, the set of genres as bits and the revision, and one
boolean per genre, because that is what both Milvus and Milvus Lite filter fastest by (README.md has
the measurement). The collection's properties say what the index is; Milvus Lite keeps no
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
"""When a movie was last written, by the writer's clock, in ns; never twice the same. By it other
replicas find what changed (search_service.resident.replica)."""
MOVIE_FIELDS = [ID, TITLE, YEAR, GENRES]
"""Fields that `movie` reads."""
STORED_FIELDS = [*MOVIE_FIELDS, VECTOR, REVISION]
"""Fields that `stored_movie` reads."""

MAX_TITLE_BYTES = 512
"""Room for a title, as much as Movie.title may take."""

Row = dict[str, Any]
"""Values of a movie by field."""

_MODEL = "marquee.model_version"
_GENRE_NAMES = "marquee.genres"
_METRIC = "marquee.metric"
_EDITION = "marquee.edition"


class StoredMovie(NamedTuple):
    """A movie with all that is stored of it."""

    movie: IndexedMovie
    vector: NDArray[np.float32]
    revision: int


def genre_field(position: int) -> str:
    """Return the name of the boolean field of the genre at this position of the index's genres."""
    return f"genre_{position:d}"


def properties(index: IndexSpec) -> dict[str, str]:
    """Return the properties of an index's collection."""
    return {
        _MODEL: index.model_version,
        _GENRE_NAMES: json.dumps(index.genres),
        _METRIC: index.metric,
    }


def spec(description: Mapping[str, Any]) -> IndexSpec | None:
    """Return the index that a collection is, by its description; None: it is none of ours."""
    said = description["properties"]
    if _MODEL not in said:
        return None
    (vector,) = (field for field in description["fields"] if field["name"] == VECTOR)
    return IndexSpec(
        name=description["collection_name"],
        model_version=said[_MODEL],
        dimension=int(vector["params"]["dim"]),
        genres=tuple(json.loads(said[_GENRE_NAMES])),
        metric=said[_METRIC],
    )


def edition(description: Mapping[str, Any]) -> str:
    """Return the edition of an index, by the description of its collection; empty: it has none."""
    return str(description["properties"].get(_EDITION, ""))


def edition_property(edition: str) -> dict[str, str]:
    """Return the property that gives an index's collection another edition."""
    return {_EDITION: edition}


def rows(
    index: IndexSpec, movies: Sequence[IndexedMovie], vectors: NDArray[np.float32], revision: int
) -> Iterator[Row]:
    """Yield a collection's rows for movies with their vectors."""
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
    """Return the movie of a row with `MOVIE_FIELDS`."""
    bits = row[GENRES]
    genres = (genre for position, genre in enumerate(index.genres) if bits >> position & 1)
    return IndexedMovie(row[ID], row[TITLE], row[YEAR], tuple(genres))


def stored_movie(index: IndexSpec, row: Mapping[str, Any]) -> StoredMovie:
    """Return the record of a row with `STORED_FIELDS`."""
    return StoredMovie(movie(index, row), np.array(row[VECTOR], np.float32), row[REVISION])
