"""How much work on a table of movies is done at once, before others have their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rpckit.finishing import finish_in_thread
from search_service.index.query import Query
from search_service.resident.movie_table import FEWEST_PRODUCT_ROWS, MovieTable

_INLINE_FLOATS = 1 << 22
"""Vector components in a table beyond which one matrix product blocks the event loop too long."""
_INLINE_PRODUCTS = 1 << 25
"""Multiplications in a slice of a search that runs in the event loop."""
_INLINE_SCORES = 1 << 17
"""Scores in such a slice, half a mebibyte: more exceed the CPU caches, and are memory that the
kernel maps anew for each slice. 64 rows by 3,883 movies: 37 µs a row, in two parts 22."""
_THREAD_SCORES = 1 << 22
"""Scores in a slice of a search that runs in a thread. A search takes up to 16 bytes a score, so
64 MiB."""
_SLICE_EXCLUSIONS = 1 << 14
"""Exclusions in a slice, but for those of a single query: to look up 10,000 takes 0.2 ms."""

Result = TypeVar("Result")


async def run(table: MovieTable, work: Callable[[], Result]) -> Result:
    """Run work on a table that nobody else uses, in a thread if it may take long."""
    return await finish_in_thread(work) if _is_large(table) else work()


def slices(table: MovieTable, queries: Sequence[Query]) -> Iterator[slice]:
    """Yield the slices of queries that are searched at once."""
    most = _most_rows(table)
    start = exclusions = 0
    for row, query in enumerate(queries):
        exclusions += len(query.excluded)
        if row > start and (row - start == most or exclusions > _SLICE_EXCLUSIONS):
            yield slice(start, row)
            start, exclusions = row, len(query.excluded)
    if start < len(queries):
        yield slice(start, len(queries))


def _is_large(table: MovieTable) -> bool:
    return len(table) * table.spec.dimension > _INLINE_FLOATS


def _most_rows(table: MovieTable) -> int:
    movies = max(1, len(table))
    if _is_large(table):
        rows = _THREAD_SCORES // movies
    else:
        products = movies * table.spec.dimension
        rows = min(_INLINE_PRODUCTS // products, _INLINE_SCORES // movies)
    return max(FEWEST_PRODUCT_ROWS, rows)
