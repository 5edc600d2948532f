"""Validation of searches, row by row, and their conversion to the values of search_service.index.

All that an index could refuse is checked here too: searches of several callers travel in one batch,
and none of them may fail with another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marquee.search.v1 import search_pb2 as pb
from marquee.type.v1 import types_pb2
from rpckit.errors import FieldViolation, InvalidRequestError
from rpckit.field_limits import limits_of
from rpckit.refused_rows import RefusedRows
from search_service.contract import validation
from search_service.index.vector_index import (
    EVERYTHING,
    NO_IDS,
    Filter,
    IndexSpec,
    Query,
    Vectors,
)

QUERIES = limits_of(pb.SearchMoviesRequest, "queries")
TOP_K = limits_of(pb.MovieQuery, "top_k")
EXCLUDED_IDS = limits_of(pb.MovieQuery, "exclude_movie_ids")
CANDIDATE_IDS = limits_of(pb.MovieQuery, "candidate_movie_ids")
FILTER_GENRES = limits_of(pb.MovieFilter, "genres")
MIN_YEAR = limits_of(pb.MovieFilter, "min_year")
MAX_YEAR = limits_of(pb.MovieFilter, "max_year")

IDS_AT_ONCE = 1 << 15
"""Ids to check before others have their turn: they take 1.5 ms."""
SMALLEST_HIT_BYTES = pb.MovieHits(
    hits=[pb.MovieHit(movie=types_pb2.Movie(movie_id=1), similarity=1)]
).ByteSize()
"""A hit of a movie without title, year and genres."""


class TooManyHitsError(InvalidRequestError):
    """The queries of a request ask for more hits together than a response can hold."""

    reason = "TOO_MANY_HITS"
    when = "The queries of a SearchMovies together ask for more hits than a response can hold."
    action = "Ask for fewer hits each, or send fewer queries at once."


class Search(NamedTuple):
    """A request that can be answered, but for the rows that are refused."""

    vectors: Vectors
    """One row for each query."""
    queries: list[Query]
    """Those that are not refused."""
    refused: RefusedRows


async def check(request: pb.SearchMoviesRequest, index: IndexSpec, max_answer_bytes: int) -> Search:
    """Check a request to search an index.

    Args:
        request: The request.
        index: What it searches.
        max_answer_bytes: Largest size of a response.

    Raises:
        ModelMismatchError: Another model than the index's made the vectors.
        TooManyHitsError: No response could hold what is asked for.
        InvalidRequestError: The request is invalid; not because of a row of it if it asks for
            partial success.
    """
    rows = len(request.queries)
    QUERIES.items.check("queries", rows)
    _check_hits(request.queries, max_answer_bytes // SMALLEST_HIT_BYTES)
    vectors = validation.vectors(request.vectors, rows, "queries")
    index.check_vectors(vectors)
    refused = RefusedRows(partial_success=request.return_partial_success)
    queries, answered = [], []
    read = 0
    for row, message in enumerate(request.queries):
        read += len(message.exclude_movie_ids)
        if read > IDS_AT_ONCE:
            await asyncio.sleep(0)  # others have their turn
            read = 0
        found: list[FieldViolation] = []
        query = _query(message, row, index, found)
        if query is None:
            refused.add(row, found)
        else:
            queries.append(query)
            answered.append(row)
    refused.check()
    if refused:
        vectors = Vectors(vectors.values[answered], vectors.model_version)
    return Search(vectors, queries, refused)


def _check_hits(queries: Sequence[pb.MovieQuery], most: int) -> None:
    asked = sum(query.top_k for query in queries)
    if asked > most:
        raise TooManyHitsError.of(
            "queries", f"ask for {asked} hits together; a response holds at most {most}"
        )


def _query(
    query: pb.MovieQuery, row: int, index: IndexSpec, found: list[FieldViolation]
) -> Query | None:
    """Return what a query asks for; None if it is invalid, with the reasons in `found`."""
    if query.top_k not in TOP_K.value:
        found.append(TOP_K.value.violation(f"queries[{row}].top_k", query.top_k))
    excluded = NO_IDS
    if query.exclude_movie_ids:
        excluded = _excluded(query, f"queries[{row}].exclude_movie_ids", found)
    wanted = EVERYTHING
    if query.HasField("filter"):
        wanted = _filter(query.filter, f"queries[{row}].filter", found)
        if wanted.genres and not found:
            found += index.unknown_genres(wanted.genres, f"queries[{row}].filter.genres")
    if candidates := query.candidate_movie_ids:
        ids_path = f"queries[{row}].candidate_movie_ids"
        validation.check_ids(candidates, CANDIDATE_IDS, ids_path, found)
        if not found:
            validation.find_repeated(candidates, f"{ids_path}[{{}}]", found)
        wanted = replace(wanted, movie_ids=frozenset(candidates))
    return None if found else Query(query.top_k, wanted, excluded)


def _excluded(query: pb.MovieQuery, path: str, found: list[FieldViolation]) -> NDArray[np.int64]:
    """Return the excluded ids, ascending. An array takes a tenth of a set's memory and time."""
    count = len(query.exclude_movie_ids)
    if count not in EXCLUDED_IDS.items:
        found.append(EXCLUDED_IDS.items.violation(path, count))
        return NO_IDS
    excluded = np.fromiter(query.exclude_movie_ids, np.int64, count)
    if excluded.min() not in EXCLUDED_IDS.value:
        validation.check_ids(query.exclude_movie_ids, EXCLUDED_IDS, path, found)
    excluded.sort()
    return excluded


def _filter(wanted: pb.MovieFilter, path: str, found: list[FieldViolation]) -> Filter:
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
