"""Group the queries of a batch by filter: queries with equal filters share one search.

Queries of one group may differ in top k and exclusions: the shared search returns as many hits as
its most demanding query needs, which is its top k plus the number of its exclusions, and each query
keeps its own part. This is exact: a query cannot lose more hits to its exclusions than it has
exclusions. Queries with very different numbers of exclusions do not share a search, so that one
user who has seen thousands of movies does not make the searches of all others return thousands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search_service.index.vector_index import Filter, Query

_SAME_DEMAND = 2048
"""Number of hits below which a shared search costs little more than one for fewer hits."""


def group_by_filter(queries: Sequence[Query]) -> dict[Filter, list[int]]:
    """Return the positions of the queries that have each filter."""
    groups: dict[Filter, list[int]] = {}
    for position, query in enumerate(queries):
        groups.setdefault(query.filter, []).append(position)
    return groups


def shared_limit(queries: Iterable[Query]) -> int:
    """Return how many hits a shared search must return for each query."""
    return max(query.top_k + query.most_left_out for query in queries)


def split_by_demand(queries: Sequence[Query], positions: Sequence[int]) -> list[list[int]]:
    """Divide positions of queries so that those of a part need similarly many hits.

    Those that need fewer than `_SAME_DEMAND` hits are one part, as are those that need fewer than
    twice as many, and so on.
    """
    parts: dict[int, list[int]] = {}
    for position in positions:
        demand = shared_limit([queries[position]]) // _SAME_DEMAND
        parts.setdefault(demand.bit_length(), []).append(position)
    return list(parts.values())


def select_hits(
    ids: Sequence[int], scores: Sequence[float], query: Query
) -> list[tuple[int, float]]:
    """Return the hits of a shared search that belong to a query, as (movie id, similarity).

    Args:
        ids: Movie ids, descending by score.
        scores: The score of each id.
        query: The query that keeps its top k of them.
    """
    left_out = query.excluded if query.seen is None else query.excluded.union(query.seen.tolist())
    hits = [
        (movie_id, score)
        for movie_id, score in zip(ids, scores, strict=True)
        if movie_id not in left_out
    ]
    hits.sort(key=lambda hit: (-hit[1], hit[0]))  # Milvus leaves the order of ties open
    return hits[: query.top_k]
