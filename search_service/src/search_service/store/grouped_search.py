"""The searches in Milvus that answer a batch of queries."""

from __future__ import annotations

from collections.abc import Sequence

from search_service.index.query import Query
from search_service.index.query_groups import group_by_search, select_hits, shared_limit
from search_service.index.vector_index import IndexSpec, Vectors
from search_service.store.filter_expressions import but_not, filter_expression
from search_service.store.index_types import IndexType
from search_service.store.milvus_client import Milvus

MOST_HITS = 16_384
"""Most hits that Milvus finds for a vector."""


async def grouped_search(
    milvus: Milvus,
    index: IndexSpec,
    index_type: IndexType,
    vectors: Vectors,
    queries: Sequence[Query],
) -> list[list[tuple[int, float]]]:
    """Return the hits of each query in a loaded index, as (movie id, similarity).

    Raises:
        InvalidRequestError: A filter names a genre that the index does not have.
    """
    groups = [
        (wanted, part)
        for wanted, rows in group_by_search(queries)
        for part in _parts([(row, queries[row]) for row in rows])
    ]
    found: list[list[tuple[int, float]]] = [[] for _ in queries]
    for wanted, rows in groups:
        group = [queries[row] for row in rows]
        expression, limit = filter_expression(wanted, index), shared_limit(group)
        if limit > MOST_HITS:
            expression = but_not(expression, group[0].excluded.tolist())
            limit = group[0].top_k
        values = vectors.values[rows] if len(groups) > 1 else vectors.values
        answers = await milvus.search(index.name, index_type, values, expression, limit)
        for row, query, (ids, scores) in zip(rows, group, answers, strict=True):
            found[row] = select_hits(ids, scores, query)
    return found


def _parts(group: Sequence[tuple[int, Query]]) -> list[list[int]]:
    """Return the rows of a group; those that need more hits than Milvus finds, one by one."""
    alone = [[row] for row, query in group if shared_limit([query]) > MOST_HITS]
    together = [row for row, query in group if shared_limit([query]) <= MOST_HITS]
    return [*([together] if together else []), *alone]
