"""Searches whose hits are not to be like each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from search_service.contract.search_validation import Search
from search_service.index.diversity import marginal_order
from search_service.index.query import Query
from search_service.index.vector_index import Hits, IndexSpec, VectorIndex

REORDERED = 200
"""How many of the nearest movies are reordered; search.proto names the number. It is the same for
every top_k, so that pages of one list fit together."""
_QUERIES_AT_ONCE = 16
"""Queries whose vectors are read together: 3 MiB of 256 dimensions."""


def deepened(search: Search) -> list[Query]:
    """Return the queries of a search, those with diversity as deep as it reaches."""
    return [
        replace(query, top_k=max(query.top_k, REORDERED))
        if position in search.diversities
        else query
        for position, query in enumerate(search.queries)
    ]


async def diversified(
    index: VectorIndex, spec: IndexSpec, search: Search, results: Sequence[Hits]
) -> list[Hits]:
    """Return the hits of a search in their final order; others have their turn in between.

    Args:
        index: What the vectors are read from.
        spec: The index that was searched.
        search: What was asked.
        results: The hits of each of the `deepened` queries.
    """
    final = list(results)
    positions = list(search.diversities)
    for start in range(0, len(positions), _QUERIES_AT_ONCE):
        part = positions[start : start + _QUERIES_AT_ONCE]
        near = {position: results[position][:REORDERED] for position in part}
        movie_ids = {hit.movie.movie_id for hits in near.values() for hit in hits}
        vectors = await index.vectors(spec, sorted(movie_ids))
        for position, hits in near.items():
            top_k = search.queries[position].top_k
            # A movie that was deleted after the search has no vector any more.
            known = [hit for hit in hits if hit.movie.movie_id in vectors]
            order: list[int] = []
            if known:
                order = marginal_order(
                    np.array([hit.similarity for hit in known], np.float32),
                    np.stack([vectors[hit.movie.movie_id] for hit in known]),
                    search.diversities[position],
                    min(top_k, len(known)),
                )
            rest = results[position][REORDERED:]
            final[position] = [*(known[place] for place in order), *rest][:top_k]
            await asyncio.sleep(0)
    return final
