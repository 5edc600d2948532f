"""Validation of requests, and their conversion to the values of search_service.index.

It checks what the request alone decides; the index checks what depends on its state, such as its
genres (search_service.index.vector_index). Every function raises InvalidRequestError with all
violations that it found, each with the path of its field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import MAX_VIOLATIONS, FieldViolation, InvalidRequestError
from rpckit.field_limits import FieldLimits, limits_of
from search_service.index.vector_index import (
    EVERYTHING,
    METRIC,
    Filter,
    IndexedMovie,
    IndexSpec,
    Query,
    Vectors,
)

QUERIES = limits_of(search_pb2.SearchMoviesRequest, "queries")
TOP_K = limits_of(search_pb2.MovieQuery, "top_k")
EXCLUDED_IDS = limits_of(search_pb2.MovieQuery, "exclude_movie_ids")
SEEN_BY = limits_of(search_pb2.MovieQuery, "exclude_seen_by_user_id")
FILTER_GENRES = limits_of(search_pb2.MovieFilter, "genres")
MIN_YEAR = limits_of(search_pb2.MovieFilter, "min_year")
MAX_YEAR = limits_of(search_pb2.MovieFilter, "max_year")
IDS_TO_GET = limits_of(search_pb2.GetMoviesRequest, "movie_ids")
PAGE_SIZE = limits_of(search_pb2.ListMoviesRequest, "page_size")
NAME = limits_of(index_pb2.CreateIndexRequest, "name")
MODEL_VERSION = limits_of(index_pb2.CreateIndexRequest, "model_version")
DIMENSION = limits_of(index_pb2.CreateIndexRequest, "dimension")
GENRES = limits_of(index_pb2.CreateIndexRequest, "genres")
MOVIES = limits_of(index_pb2.UpsertMoviesRequest, "movies")
IDS_TO_DELETE = limits_of(index_pb2.DeleteMoviesRequest, "movie_ids")
EXPECTED_COUNT = limits_of(index_pb2.ActivateIndexRequest, "expected_movie_count")
MOVIE_ID = limits_of(types_pb2.Movie, "movie_id")
TITLE = limits_of(types_pb2.Movie, "title")
YEAR = limits_of(types_pb2.Movie, "year")
ROW_LENGTH = limits_of(types_pb2.Vectors, "dimension")

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def search(request: search_pb2.SearchMoviesRequest) -> tuple[Vectors, list[Query]]:
    """Check a SearchMoviesRequest, but for its index."""
    rows = len(request.queries)
    QUERIES.items.check("queries", rows)
    vectors = _vectors(request.vectors, rows, "queries")
    found: list[FieldViolation] = []
    queries = []
    for row, query in enumerate(request.queries):
        queries.append(_query(query, row, found))
        if len(found) > MAX_VIOLATIONS:  # enough to refuse the request
            break
    _refuse(found)
    return vectors, queries


def seen_by(request: search_pb2.SearchMoviesRequest) -> dict[int, int]:
    """Return the user whose seen movies are left out, for the rows that name one."""
    return {
        row: query.exclude_seen_by_user_id
        for row, query in enumerate(request.queries)
        if query.exclude_seen_by_user_id
    }


def get_movies(request: search_pb2.GetMoviesRequest) -> list[int]:
    """Check a GetMoviesRequest, but for its index."""
    return _movie_ids(request.movie_ids, IDS_TO_GET)


def page_size(request: search_pb2.ListMoviesRequest) -> int:
    """Check the page_size of a ListMoviesRequest."""
    size = request.page_size if request.HasField("page_size") else PAGE_SIZE.default
    PAGE_SIZE.value.check("page_size", size)
    return size


def create(request: index_pb2.CreateIndexRequest) -> IndexSpec:
    """Check a CreateIndexRequest."""
    found: list[FieldViolation] = []
    _check_name(request.name, "name", found)
    if (length := len(request.model_version.encode())) not in MODEL_VERSION.bytes:
        found.append(MODEL_VERSION.bytes.violation("model_version", length))
    if request.dimension not in DIMENSION.value:
        found.append(DIMENSION.value.violation("dimension", request.dimension))
    if request.metric not in ("", METRIC):
        found.append(FieldViolation("metric", f"must be {METRIC}, not {request.metric!r}"))
    if len(request.genres) not in GENRES.items:
        found.append(GENRES.items.violation("genres", len(request.genres)))
    for number, genre in enumerate(request.genres):
        if (length := len(genre.encode())) not in GENRES.bytes:
            found.append(GENRES.bytes.violation(f"genres[{number}]", length))
    _find_repeated(request.genres, "genres[{}]", found)
    _refuse(found)
    return IndexSpec(request.name, request.model_version, request.dimension, tuple(request.genres))


def upsert(request: index_pb2.UpsertMoviesRequest) -> tuple[list[IndexedMovie], Vectors]:
    """Check an UpsertMoviesRequest, but for its index."""
    rows = len(request.movies)
    MOVIES.items.check("movies", rows)
    vectors = _vectors(request.vectors, rows, "movies")
    found: list[FieldViolation] = []
    movies = []
    for number, movie in enumerate(request.movies):
        movies.append(_movie(movie, number, found))
        if len(found) > MAX_VIOLATIONS:
            break
    _find_repeated([movie.movie_id for movie in movies], "movies[{}].movie_id", found)
    _refuse(found)
    return movies, vectors


def delete(request: index_pb2.DeleteMoviesRequest) -> list[int]:
    """Check a DeleteMoviesRequest, but for its index."""
    return _movie_ids(request.movie_ids, IDS_TO_DELETE)


def expected_count(request: index_pb2.ActivateIndexRequest) -> int | None:
    """Check an ActivateIndexRequest, but for its index."""
    if not request.HasField("expected_movie_count"):
        return None
    count = request.expected_movie_count
    EXPECTED_COUNT.value.check("expected_movie_count", count)
    return count


def index_to_read(name: str) -> str:
    """Check the `index` of a read. Empty: the active index."""
    return name and index_to_write(name)


def index_to_write(name: str) -> str:
    """Check the `index` of a write, which must name one."""
    found: list[FieldViolation] = []
    _check_name(name, "index", found)
    _refuse(found)
    return name


def _check_name(name: str, path: str, found: list[FieldViolation]) -> None:
    """Check the name of an index: Milvus takes no others, and a reserved one starts otherwise."""
    if len(name) not in NAME.bytes or not _IDENTIFIER.fullmatch(name):
        rule = f"must be a letter, then letters, digits and underscores, at most {NAME.bytes.max}"
        found.append(FieldViolation(path, rule))


def _vectors(vectors: types_pb2.Vectors, rows: int, of: str) -> Vectors:
    """Check a request's vectors; return a view of them.

    Args:
        vectors: The message.
        rows: Required number of vectors.
        of: Name of the items that have a vector each, for violations.
    """
    dimension, data = vectors.dimension, vectors.data
    found: list[FieldViolation] = []
    if dimension not in ROW_LENGTH.value:
        found.append(ROW_LENGTH.value.violation("vectors.dimension", dimension))
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
    if query.top_k not in TOP_K.value:
        found.append(TOP_K.value.violation(f"queries[{row}].top_k", query.top_k))
    excluded = query.exclude_movie_ids
    if excluded:
        _check_ids(excluded, EXCLUDED_IDS, f"queries[{row}].exclude_movie_ids", found)
    user_id = query.exclude_seen_by_user_id
    if query.HasField("exclude_seen_by_user_id") and user_id not in SEEN_BY.value:
        found.append(SEEN_BY.value.violation(f"queries[{row}].exclude_seen_by_user_id", user_id))
    wanted = EVERYTHING
    if query.HasField("filter"):
        wanted = _filter(query.filter, f"queries[{row}].filter", found)
    return Query(query.top_k, wanted, frozenset(excluded))


def _filter(wanted: search_pb2.MovieFilter, path: str, found: list[FieldViolation]) -> Filter:
    if len(wanted.genres) not in FILTER_GENRES.items:
        found.append(FILTER_GENRES.items.violation(f"{path}.genres", len(wanted.genres)))
    earliest = wanted.min_year if wanted.HasField("min_year") else None
    latest = wanted.max_year if wanted.HasField("max_year") else None
    if earliest is not None and earliest not in MIN_YEAR.value:
        found.append(MIN_YEAR.value.violation(f"{path}.min_year", earliest))
    if latest is not None:
        years = replace(MAX_YEAR.value, min=earliest) if earliest else MAX_YEAR.value
        if latest not in years:
            found.append(years.violation(f"{path}.max_year", latest))
    return Filter(tuple(wanted.genres), earliest, latest)


def _movie(movie: types_pb2.Movie, number: int, found: list[FieldViolation]) -> IndexedMovie:
    path = f"movies[{number}]"
    if movie.movie_id not in MOVIE_ID.value:
        found.append(MOVIE_ID.value.violation(f"{path}.movie_id", movie.movie_id))
    if (length := len(movie.title.encode())) not in TITLE.bytes:
        found.append(TITLE.bytes.violation(f"{path}.title", length))
    if movie.year and movie.year not in YEAR.value:
        found.append(YEAR.value.violation(f"{path}.year", movie.year, alternative="0 for unknown"))
    _find_repeated(movie.genres, f"{path}.genres[{{}}]", found)
    return IndexedMovie(movie.movie_id, movie.title, movie.year, tuple(movie.genres))


def _movie_ids(movie_ids: Sequence[int], limits: FieldLimits) -> list[int]:
    found: list[FieldViolation] = []
    _check_ids(movie_ids, limits, "movie_ids", found)
    _refuse(found)
    return list(movie_ids)


def _check_ids(
    movie_ids: Sequence[int], limits: FieldLimits, path: str, found: list[FieldViolation]
) -> None:
    if len(movie_ids) not in limits.items:
        found.append(limits.items.violation(path, len(movie_ids)))
    elif min(movie_ids) not in limits.value:
        found.extend(
            limits.value.violation(f"{path}[{number}]", movie_id)
            for number, movie_id in enumerate(movie_ids)
            if movie_id not in limits.value
        )


def _find_repeated(values: Sequence[object], path: str, found: list[FieldViolation]) -> None:
    """Find repeated values; `path` is a format string for a value's position."""
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
