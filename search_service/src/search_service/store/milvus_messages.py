"""Requests and results as messages of Milvus's protocol.

pymilvus creates an object for every hit and row. Handling the messages directly takes 1.1 ms of CPU
instead of 4.4 for 64 searches of ten hits, 0.58 instead of 0.94 for one search, and 7 instead of 59
for the ids and revisions of 50,000 movies (Milvus 2.3.5).

See `SearchRequest`, `QueryRequest` and their results in https://github.com/milvus-io/milvus-proto.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymilvus.client.utils import check_status
from pymilvus.grpc_gen import common_pb2, milvus_pb2

_BOUNDED_TIMESTAMP = 2
"""Guarantee timestamp that stands for bounded staleness."""


def search_request(
    collection: str,
    field: str,
    vectors: NDArray[np.float32],
    *,
    metric: str,
    params: Mapping[str, object],
    expression: str,
    limit: int,
) -> Any:
    """Return the SearchRequest for the ids and scores of each query's best hits.

    Its consistency level is Bounded.

    Args:
        collection: Name of the collection.
        field: Name of the vector field.
        vectors: One query a row, (queries, dimension).
        metric: Metric type of the field's index.
        params: Search parameters of that index type, such as `ef`.
        expression: Boolean expression that hits must match. Empty: all do.
        limit: Number of hits for each query.
    """
    rows = [row.tobytes() for row in vectors.astype("<f4", copy=False)]
    placeholders = common_pb2.PlaceholderGroup(
        placeholders=[
            common_pb2.PlaceholderValue(
                tag="$0", type=common_pb2.PlaceholderType.FloatVector, values=rows
            )
        ]
    )
    search_params = {
        "anns_field": field,
        "metric_type": metric,
        "topk": str(limit),
        "params": json.dumps(params),
        "round_decimal": "-1",  # do not round scores
    }
    return milvus_pb2.SearchRequest(
        collection_name=collection,
        dsl=expression,
        dsl_type=common_pb2.DslType.BoolExprV1,
        placeholder_group=placeholders.SerializeToString(),
        nq=len(rows),
        search_params=[
            common_pb2.KeyValuePair(key=key, value=value) for key, value in search_params.items()
        ],
        consistency_level=common_pb2.ConsistencyLevel.Bounded,
        guarantee_timestamp=_BOUNDED_TIMESTAMP,
    )


def hits(response: Any) -> list[tuple[Sequence[int], Sequence[float]]]:
    """Return the ids and scores in a SearchResults for each query, descending by score.

    Raises:
        pymilvus.MilvusException: The response is an error.
    """
    check_status(response.status)
    found = response.results
    # Slicing a list is cheaper than slicing a protobuf container.
    ids, scores = list(found.ids.int_id.data), list(found.scores)
    bounds = pairwise(accumulate(found.topks, initial=0))
    return [(ids[start:end], scores[start:end]) for start, end in bounds]


def query_request(collection: str, fields: Sequence[str], *, expression: str, limit: int) -> Any:
    """Return the QueryRequest for fields of the entities with the lowest ids that match.

    Its consistency level is Bounded.

    Args:
        collection: Name of the collection.
        fields: Fields to return.
        expression: Boolean expression that entities must match.
        limit: Number of entities.
    """
    # Without `iterator`, Milvus Lite returns any entities instead of those with the lowest ids.
    params = {"limit": str(limit), "iterator": "True"}
    return milvus_pb2.QueryRequest(
        collection_name=collection,
        expr=expression,
        output_fields=fields,
        query_params=[
            common_pb2.KeyValuePair(key=key, value=value) for key, value in params.items()
        ],
        consistency_level=common_pb2.ConsistencyLevel.Bounded,
        guarantee_timestamp=_BOUNDED_TIMESTAMP,
    )


def strong_query_request(collection: str, fields: Sequence[str], *, expression: str) -> Any:
    """Return the QueryRequest for fields of all entities that match.

    Its consistency level is Strong: the answer includes every write that has returned.
    """
    return milvus_pb2.QueryRequest(
        collection_name=collection,
        expr=expression,
        output_fields=fields,
        consistency_level=common_pb2.ConsistencyLevel.Strong,
    )


def integers(response: Any) -> dict[str, NDArray[np.int64]]:
    """Return the columns of 64-bit integers in a QueryResults by field name.

    Raises:
        pymilvus.MilvusException: The response is an error.
    """
    check_status(response.status)
    return {
        column.field_name: np.array(column.scalars.long_data.data, np.int64)
        for column in response.fields_data
    }
