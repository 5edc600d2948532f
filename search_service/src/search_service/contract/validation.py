"""Requests of the contract, checked field by field and turned into what the indexes take.

Only what can be told from the request alone; what depends on an index, such as its genres, is
checked by the index (search_service.index.vector_index). Every function raises InvalidRequestError
with all that it found, each under the path of its field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import FieldViolation, InvalidRequestError
from search_service.index.vector_index import (
    EVERYTHING,
    METRIC,
    Filter,
    IndexedMovie,
    IndexSpec,
    Query,
    Vectors,
)
from search_service.store.collection_schema import MAX_GENRES, MAX_TITLE_BYTES

MAX_ROWS = 1024
MAX_TOP_K = 1000
MAX_EXCLUDED = 1000
MAX_IDS = 1000
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
MAX_FILTER_GENRES = 64
MAX_DIMENSION = 32768
FIRST_YEAR, LAST_YEAR = 1870, 2200
MAX_VERSION_BYTES = 64
MAX_GENRE_BYTES = 64

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def search(request: search_pb2.SearchMoviesRequest) -> tuple[Vectors, list[Query]]:
    """Check a SearchMoviesRequest."""
    rows = len(request.queries)
    if not 1 <= rows <= MAX_ROWS:
        raise InvalidRequestError.of("queries", f"must have 1 to {MAX_ROWS}, not {rows}")
    vectors = _vectors(request.vectors, rows, "queries")
    found: list[FieldViolation] = []
    queries = [_query(query, row, found) for row, query in enumerate(request.queries)]
    _refuse(found)
    return vectors, queries


def get_movies(request: search_pb2.GetMoviesRequest) -> list[int]:
    """Check a GetMoviesRequest."""
    return _movie_ids(request.movie_ids)


def page_size(request: search_pb2.ListMoviesRequest) -> int:
    """Check the page_size of a ListMoviesRequest."""
    size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise InvalidRequestError.of("page_size", f"must be 1 to {MAX_PAGE_SIZE}, not {size}")
    return size


def create(request: index_pb2.CreateIndexRequest) -> IndexSpec:
    """Check a CreateIndexRequest."""
    found: list[FieldViolation] = []
    if not _NAME.fullmatch(request.name):
        found.append(
            FieldViolation(
                "name", "must be a letter, then letters, digits and underscores, at most 64"
            )
        )
    if not 1 <= len(request.model_version.encode()) <= MAX_VERSION_BYTES:
        found.append(FieldViolation("model_version", f"must have 1 to {MAX_VERSION_BYTES} bytes"))
    if not 2 <= request.dimension <= MAX_DIMENSION:
        found.append(
            FieldViolation("dimension", f"must be 2 to {MAX_DIMENSION}, not {request.dimension}")
        )
    if request.metric not in ("", METRIC):
        found.append(FieldViolation("metric", f"must be {METRIC}, not {request.metric!r}"))
    if not 1 <= len(request.genres) <= MAX_GENRES:
        found.append(
            FieldViolation("genres", f"must have 1 to {MAX_GENRES}, not {len(request.genres)}")
        )
    for number, genre in enumerate(request.genres):
        if not 1 <= len(genre.encode()) <= MAX_GENRE_BYTES:
            found.append(
                FieldViolation(f"genres[{number}]", f"must have 1 to {MAX_GENRE_BYTES} bytes")
            )
    _find_repeated(request.genres, "genres[{}]", found)
    _refuse(found)
    return IndexSpec(request.name, request.model_version, request.dimension, tuple(request.genres))


def upsert(request: index_pb2.UpsertMoviesRequest) -> tuple[list[IndexedMovie], Vectors]:
    """Check an UpsertMoviesRequest."""
    named_index(request.index)
    rows = len(request.movies)
    if not 1 <= rows <= MAX_IDS:
        raise InvalidRequestError.of("movies", f"must have 1 to {MAX_IDS}, not {rows}")
    vectors = _vectors(request.vectors, rows, "movies")
    found: list[FieldViolation] = []
    movies = [_movie(movie, number, found) for number, movie in enumerate(request.movies)]
    _find_repeated([movie.movie_id for movie in movies], "movies[{}].movie_id", found)
    _refuse(found)
    return movies, vectors


def delete(request: index_pb2.DeleteMoviesRequest) -> list[int]:
    """Check a DeleteMoviesRequest."""
    named_index(request.index)
    return _movie_ids(request.movie_ids)


def expected_count(request: index_pb2.ActivateIndexRequest) -> int | None:
    """Check an ActivateIndexRequest."""
    named_index(request.index)
    if not request.HasField("expected_movie_count"):
        return None
    count = request.expected_movie_count
    if count < 1:
        raise InvalidRequestError.of("expected_movie_count", f"must be 1 or more, not {count}")
    return count


def named_index(name: str) -> str:
    """Check that a write names its index."""
    if not name:
        raise InvalidRequestError.of("index", "must name an index")
    return name


def _vectors(vectors: types_pb2.Vectors, rows: int, of: str) -> Vectors:
    """Check vectors of which there is one for each of a request's `of`; nothing is copied."""
    dimension, data = vectors.dimension, vectors.data
    found: list[FieldViolation] = []
    if not 1 <= dimension <= MAX_DIMENSION:
        found.append(
            FieldViolation("vectors.dimension", f"must be 1 to {MAX_DIMENSION}, not {dimension}")
        )
    elif len(data) != rows * dimension * 4:
        found.append(
            FieldViolation(
                "vectors.data",
                f"has {len(data)} bytes; {rows} {of} of dimension {dimension} "
                f"take {rows * dimension * 4}",
            )
        )
    if not vectors.model_version:
        found.append(FieldViolation("vectors.model_version", "must not be empty"))
    _refuse(found)
    values = np.frombuffer(data, "<f4").reshape(rows, dimension)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise InvalidRequestError.of("vectors.data", f"row {row} has a NaN or an infinity")
    return Vectors(values, vectors.model_version)


def _query(query: search_pb2.MovieQuery, row: int, found: list[FieldViolation]) -> Query:
    if not 1 <= query.top_k <= MAX_TOP_K:
        path = f"queries[{row}].top_k"
        found.append(FieldViolation(path, f"must be 1 to {MAX_TOP_K}, not {query.top_k}"))
    excluded = query.exclude_movie_ids
    if excluded:
        _check_ids(excluded, MAX_EXCLUDED, f"queries[{row}].exclude_movie_ids", found)
    wanted = EVERYTHING
    if query.HasField("filter"):
        wanted = _filter(query.filter, f"queries[{row}].filter", found)
    return Query(query.top_k, wanted, frozenset(excluded))


def _filter(wanted: search_pb2.MovieFilter, path: str, found: list[FieldViolation]) -> Filter:
    if len(wanted.genres) > MAX_FILTER_GENRES:
        found.append(
            FieldViolation(
                f"{path}.genres", f"must have at most {MAX_FILTER_GENRES}, not {len(wanted.genres)}"
            )
        )
    earliest = wanted.min_year if wanted.HasField("min_year") else None
    latest = wanted.max_year if wanted.HasField("max_year") else None
    if earliest is not None and not FIRST_YEAR <= earliest <= LAST_YEAR:
        found.append(
            FieldViolation(
                f"{path}.min_year", f"must be {FIRST_YEAR} to {LAST_YEAR}, not {earliest}"
            )
        )
    if latest is not None and not (earliest or FIRST_YEAR) <= latest <= LAST_YEAR:
        found.append(
            FieldViolation(
                f"{path}.max_year", f"must be {earliest or FIRST_YEAR} to {LAST_YEAR}, not {latest}"
            )
        )
    return Filter(tuple(wanted.genres), earliest, latest)


def _movie(movie: types_pb2.Movie, number: int, found: list[FieldViolation]) -> IndexedMovie:
    path = f"movies[{number}]"
    if movie.movie_id < 1:
        found.append(FieldViolation(f"{path}.movie_id", f"must be 1 or more, not {movie.movie_id}"))
    if len(movie.title.encode()) > MAX_TITLE_BYTES:
        found.append(FieldViolation(f"{path}.title", f"must have at most {MAX_TITLE_BYTES} bytes"))
    if movie.year and not FIRST_YEAR <= movie.year <= LAST_YEAR:
        found.append(
            FieldViolation(
                f"{path}.year",
                f"must be {FIRST_YEAR} to {LAST_YEAR}, or 0 for unknown, not {movie.year}",
            )
        )
    _find_repeated(movie.genres, f"{path}.genres[{{}}]", found)
    return IndexedMovie(movie.movie_id, movie.title, movie.year, tuple(movie.genres))


def _movie_ids(movie_ids: Sequence[int]) -> list[int]:
    if not movie_ids:
        raise InvalidRequestError.of("movie_ids", f"must have 1 to {MAX_IDS}, not 0")
    found: list[FieldViolation] = []
    _check_ids(movie_ids, MAX_IDS, "movie_ids", found)
    _refuse(found)
    return list(movie_ids)


def _check_ids(movie_ids: Sequence[int], most: int, path: str, found: list[FieldViolation]) -> None:
    if len(movie_ids) > most:
        found.append(FieldViolation(path, f"must have at most {most}, not {len(movie_ids)}"))
    elif min(movie_ids) < 1:
        found.extend(
            FieldViolation(f"{path}[{number}]", f"must be 1 or more, not {movie_id}")
            for number, movie_id in enumerate(movie_ids)
            if movie_id < 1
        )


def _find_repeated(values: Sequence[object], path: str, found: list[FieldViolation]) -> None:
    """Look for values that were there before; `path` has a place for their position."""
    if len(set(values)) == len(values):
        return
    seen = set()
    for number, value in enumerate(values):
        if value in seen:
            found.append(FieldViolation(path.format(number), f"repeats {value!r}"))
        seen.add(value)


def _refuse(found: list[FieldViolation]) -> None:
    if found:
        raise InvalidRequestError(found)
