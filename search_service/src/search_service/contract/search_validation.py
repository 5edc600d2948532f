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
from rpckit.field_limits import FieldLimits, limits_of
from rpckit.refused_rows import RefusedRows
from search_service.contract import validation
from search_service.index.examples import Examples
from search_service.index.query import EVERYTHING, NO_IDS, Filter, Query
from search_service.index.vector_index import IndexSpec, Vectors

QUERIES = limits_of(pb.SearchMoviesRequest, "queries")
TOP_K = limits_of(pb.MovieQuery, "top_k")
EXCLUDED_IDS = limits_of(pb.MovieQuery, "exclude_movie_ids")
SEEN_BY = limits_of(pb.MovieQuery, "exclude_seen_by_user_id")
DIVERSITY = limits_of(pb.MovieQuery, "diversity")
LIKED_IDS = limits_of(pb.MovieQuery, "liked_movie_ids")
DISLIKED_IDS = limits_of(pb.MovieQuery, "disliked_movie_ids")
CANDIDATE_IDS = limits_of(pb.MovieQuery, "candidate_movie_ids")
FILTER_GENRES = limits_of(pb.MovieFilter, "genres")
MIN_YEAR = limits_of(pb.MovieFilter, "min_year")
MAX_YEAR = limits_of(pb.MovieFilter, "max_year")

BYTES_AT_ONCE = 1 << 16
"""Bytes of queries to check before others have their turn: their ids take 2 ms."""
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
    """One row for each query; zero for one that has examples."""
    queries: list[Query]
    """Those that are not refused."""
    rows: list[int]
    """Which row of the request each query is."""
    examples: dict[int, Examples]
    """What stands in place of a vector, by position of the query."""
    diversities: dict[int, float]
    """Diversity, above 0, by position of the query."""
    seen_by: dict[int, int]
    """User whose seen movies are left out, by position of the query."""
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
    by_examples = [bool(query.liked_movie_ids) for query in request.queries]
    vectors = _vectors(request, by_examples.count(False), index)
    refused = RefusedRows(partial_success=request.return_partial_success)
    queries: list[Query] = []
    answered: list[int] = []
    examples: dict[int, Examples] = {}
    diversities: dict[int, float] = {}
    seen_by: dict[int, int] = {}
    is_large, read = request.ByteSize() > BYTES_AT_ONCE, 0
    for row, message in enumerate(request.queries):
        if is_large and (read := read + message.ByteSize()) > BYTES_AT_ONCE:
            await asyncio.sleep(0)  # others have their turn
            read = 0
        found: list[FieldViolation] = []
        query = _query(message, row, index, found)
        named = None
        if by_examples[row] or message.disliked_movie_ids:
            named = _examples(message, row, found)
        if (diversity := message.diversity) and diversity not in DIVERSITY.value:
            found.append(DIVERSITY.value.violation(f"queries[{row}].diversity", diversity))
        if query is None or found:
            refused.add(row, found)
            continue
        if named:
            query = query.excluding(np.unique(named.movie_ids))
            examples[len(queries)] = named
        if diversity:
            diversities[len(queries)] = diversity
        if message.exclude_seen_by_user_id:
            seen_by[len(queries)] = message.exclude_seen_by_user_id
        queries.append(query)
        answered.append(row)
    refused.check()
    _check_hits(queries, max_answer_bytes // SMALLEST_HIT_BYTES)
    if refused or examples:
        vectors = _rows_of(vectors, by_examples, answered)
    return Search(vectors, queries, answered, examples, diversities, seen_by, refused)


def _vectors(request: pb.SearchMoviesRequest, rows: int, index: IndexSpec) -> Vectors:
    """Return the vectors of the `rows` queries that have one."""
    if not rows and not request.HasField("vectors"):
        return Vectors(np.empty((0, index.dimension), np.float32), index.model_version)
    vectors = validation.vectors(request.vectors, rows, "queries")
    index.check_vectors(vectors)
    return vectors


def _rows_of(vectors: Vectors, by_examples: Sequence[bool], answered: list[int]) -> Vectors:
    """Return one row for each query that is answered; zero for one without a vector."""
    values = np.zeros((len(by_examples), vectors.values.shape[1]), np.float32)
    values[np.logical_not(by_examples)] = vectors.values
    return Vectors(values[answered], vectors.model_version)


def _check_hits(queries: Sequence[Query], most: int) -> None:
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
    user_id = query.exclude_seen_by_user_id
    if query.HasField("exclude_seen_by_user_id") and user_id not in SEEN_BY.value:
        found.append(SEEN_BY.value.violation(f"queries[{row}].exclude_seen_by_user_id", user_id))
    if candidates := query.candidate_movie_ids:
        path = f"queries[{row}].candidate_movie_ids"
        _check_unique_ids(candidates, CANDIDATE_IDS, path, found)
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


def _examples(query: pb.MovieQuery, row: int, found: list[FieldViolation]) -> Examples | None:
    """Return the examples of a query; None if they are invalid, with the reasons in `found`."""
    before = len(found)
    liked, disliked = query.liked_movie_ids, query.disliked_movie_ids
    path = f"queries[{row}].disliked_movie_ids"
    if not liked:
        found.append(FieldViolation(path, "must be empty without liked_movie_ids"))
        return None
    _check_unique_ids(liked, LIKED_IDS, f"queries[{row}].liked_movie_ids", found)
    if disliked:
        _check_unique_ids(disliked, DISLIKED_IDS, path, found)
    if len(found) > before:
        return None
    both = set(liked).intersection(disliked)
    found += [
        FieldViolation(f"{path}[{number}]", f"{movie_id} is in liked_movie_ids, too")
        for number, movie_id in enumerate(disliked)
        if movie_id in both
    ]
    return Examples(tuple(liked), tuple(disliked))


def _check_unique_ids(
    movie_ids: Sequence[int], limits: FieldLimits, path: str, found: list[FieldViolation]
) -> None:
    before = len(found)
    validation.check_ids(movie_ids, limits, path, found)
    if len(found) == before:
        validation.find_repeated(movie_ids, f"{path}[{{}}]", found)


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
