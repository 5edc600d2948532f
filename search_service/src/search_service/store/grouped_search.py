"""The searches in Milvus that answer a batch of queries."""

from __future__ import annotations

from collections.abc import Sequence

from search_service.index.query import Query
from search_service.index.query_groups import group_by_search, select_hits, shared_limit
from search_service.index.vector_index import IndexSpec, Vectors
from search_service.store.filter_expressions import filter_expression
from search_service.store.index_types import IndexType
from search_service.store.milvus_client import Milvus


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
    groups = [(filter_expression(wanted, index), rows) for wanted, rows in group_by_search(queries)]
    found: list[list[tuple[int, float]]] = [[] for _ in queries]
    for expression, rows in groups:
        wanted = [queries[row] for row in rows]
        values = vectors.values[rows] if len(groups) > 1 else vectors.values
        answers = await milvus.search(
            index.name, index_type, values, expression, shared_limit(wanted)
        )
        for row, query, (ids, scores) in zip(rows, wanted, answers, strict=True):
            found[row] = select_hits(ids, scores, query)
    return found
