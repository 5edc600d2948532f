"""Searches by movies: what the named movies' vectors make takes the place of a query's vector."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from rpckit.errors import FieldViolation
from search_service.contract.read_in_parts import read_in_parts
from search_service.contract.search_validation import Search
from search_service.index.vector_index import IndexSpec, VectorIndex, Vectors

_QUERIES_AT_ONCE = 16
"""Queries whose vectors are computed before others have their turn: 1 ms with 200 movies each."""


Value = TypeVar("Value")


async def with_example_vectors(index: VectorIndex, spec: IndexSpec, search: Search) -> Search:
    """Return a search whose queries all have a vector; those without a known liked movie leave.

    Args:
        index: What the vectors are read from.
        spec: The index that is searched.
        search: The search; what is refused is added to its refused rows.

    Raises:
        InvalidRequestError: The index has none of a query's liked movies, and the request does not
            ask for partial success.
    """
    movie_ids = {i for examples in search.examples.values() for i in examples.movie_ids}
    vectors = await read_in_parts(index.vectors, spec, sorted(movie_ids))
    values = search.vectors.values.copy()
    kept = []
    for position, row in enumerate(search.rows):
        if examples := search.examples.get(position):
            if position % _QUERIES_AT_ONCE == 0:
                await asyncio.sleep(0)
            vector = examples.vector(vectors)
            if vector is None:
                path = f"queries[{row}].liked_movie_ids"
                reason = f"index {spec.name!r} has none of these movies"
                search.refused.add(row, [FieldViolation(path, reason)])
                continue
            values[position] = vector
        kept.append(position)
    search.refused.check()
    return Search(
        Vectors(np.ascontiguousarray(values[kept]), spec.model_version),
        [search.queries[position] for position in kept],
        [search.rows[position] for position in kept],
        _moved(search.examples, kept),
        _moved(search.diversities, kept),
        _moved(search.seen_by, kept),
        search.refused,
    )


def _moved(by_position: Mapping[int, Value], kept: Sequence[int]) -> dict[int, Value]:
    """Return what is known by position, by the new positions of the queries that are kept."""
    return {new: by_position[old] for new, old in enumerate(kept) if old in by_position}
