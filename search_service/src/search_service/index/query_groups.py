"""Which queries can share one search: those with the same filter.

Rows with different top k and exclusions share it: the search returns as many as the most demanding
row needs, its top k and as many more as it excludes, and each row is cut to what it asked for.
That is exact, because no row can lose more hits to its exclusions than it has exclusions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search_service.index.vector_index import Filter, Query


def by_filter(queries: Sequence[Query]) -> dict[Filter, list[int]]:
    """Return the positions of the queries of each filter."""
    groups: dict[Filter, list[int]] = {}
    for position, query in enumerate(queries):
        groups.setdefault(query.filter, []).append(position)
    return groups


def reach(queries: Iterable[Query]) -> int:
    """Return how many hits a shared search must return for each row."""
    return max(query.top_k + len(query.excluded) for query in queries)


def cut(ids: Sequence[int], scores: Sequence[float], query: Query) -> list[tuple[int, float]]:
    """Return what a query asked for of a shared search's hits: (movie id, similarity).

    Args:
        ids: Movie ids, descending by score.
        scores: Their scores.
        query: What was asked.
    """
    hits = [
        (movie_id, score)
        for movie_id, score in zip(ids, scores, strict=True)
        if movie_id not in query.excluded
    ]
    hits.sort(key=lambda hit: (-hit[1], hit[0]))  # the store leaves the order of ties open
    return hits[: query.top_k]
