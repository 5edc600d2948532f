"""Measurements behind two design choices: how genres are stored, and when a graph pays.

    python search_service/benchmarks genres http://localhost:19530
    python search_service/benchmarks graph http://localhost:19530 --sizes 4000,50000

Without a URI it measures Milvus Lite in a temporary folder. It creates and deletes only collections
whose names start with `choices_`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from pymilvus import AsyncMilvusClient, DataType

from search_service.store.index_types import IndexType, build_params, search_params
from search_service.store.milvus_lite import milvus_lite

DIMENSION = 256
GENRES = 18
ROUNDS = 30

Matrix = np.ndarray[Any, np.dtype[np.float32]]


async def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("what", choices=["genres", "graph"])
    parser.add_argument("uri", nargs="?", help="a Milvus server; default: Milvus Lite")
    parser.add_argument("--sizes", default="4000", help="movies, as in 4000,50000")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        uri = arguments.uri
        if uri is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            uri = stack.enter_context(milvus_lite(Path(folder) / "milvus.db"))
        async with AsyncMilvusClient(uri=uri, dedicated=True) as client:
            for size in map(int, arguments.sizes.split(",")):
                await (genres if arguments.what == "genres" else graph)(client, size)


async def genres(client: AsyncMilvusClient, size: int) -> None:
    """Time filters by genre, for each way of storing genres."""
    name = "choices_genres"
    rng = np.random.default_rng(0)
    has = rng.random((size, GENRES)) < 0.1
    schema = _schema(client)
    schema.add_field("first", DataType.INT8)
    schema.add_field("listed", DataType.ARRAY, element_type=DataType.INT8, max_capacity=GENRES)
    for genre in range(GENRES):
        schema.add_field(f"genre_{genre}", DataType.BOOL)
    rows = [
        {
            "first": int(row.argmax()) if row.any() else -1,
            "listed": np.flatnonzero(row).tolist(),
            **{f"genre_{genre}": bool(row[genre]) for genre in range(GENRES)},
        }
        for row in has
    ]
    vectors = await _fill(client, name, schema, rows, "FLAT")
    for title, expression in {
        "no filter": "",
        "one genre: boolean field": "genre_3 == true",
        "one genre: integer field, first only": "first == 3",
        "one genre: array_contains": "array_contains(listed, 3)",
        "three genres: boolean fields": "genre_3 == true or genre_5 == true or genre_7 == true",
        "three genres: array_contains_any": "array_contains_any(listed, [3, 5, 7])",
        "100 ids excluded by expression": f"id not in {list(range(100))}",
    }.items():
        figures = []
        for batch in (1, 32):
            once = partial(_search, client, name, vectors[:batch], expression, {})
            figures.append(f"{await _milliseconds(once):8.2f}")
        print(f"{size:8,} movies  {title:34}", *figures, "ms for 1 and 32 rows")
    await client.drop_collection(name)


async def graph(client: AsyncMilvusClient, size: int) -> None:
    """Time FLAT and HNSW, and compute the recall@10 of HNSW."""
    name = "choices_graph"
    exact: list[list[int]] = []
    kinds: tuple[IndexType, ...] = ("FLAT", "HNSW")
    for kind in kinds:
        started = time.perf_counter()
        vectors = await _fill(client, name, _schema(client), [{} for _ in range(size)], kind)
        built = time.perf_counter() - started
        params = search_params(kind, limit=20)
        queries = _directions(200, seed=7)
        found = [list(hits.ids) for hits in await _search(client, name, queries, "", params)]
        exact = exact or found
        recall = np.mean(
            [len(set(a[:10]) & set(b[:10])) / 10 for a, b in zip(found, exact, strict=True)]
        )
        figures = []
        for batch in (1, 32):
            once = partial(_search, client, name, vectors[:batch], "", params)
            figures.append(f"{await _milliseconds(once):8.2f}")
        print(
            f"{size:8,} movies  {kind}  built in {built:5.1f} s  recall@10 {recall:.3f} ",
            *figures,
            "ms for 1 and 32 rows",
        )
        await client.drop_collection(name)


def _schema(client: AsyncMilvusClient) -> Any:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    return schema


async def _fill(
    client: AsyncMilvusClient, name: str, schema: Any, rows: list[dict[str, Any]], kind: IndexType
) -> Matrix:
    """Create, index and load a collection of these rows; return their vectors."""
    if await client.has_collection(name):
        await client.drop_collection(name)
    vectors = _directions(len(rows), seed=1)
    await client.create_collection(name, schema=schema, consistency_level="Bounded")
    for start in range(0, len(rows), 1000):
        chunk = enumerate(rows[start : start + 1000], start)
        await client.upsert(name, [{"id": i, "vector": vectors[i], **row} for i, row in chunk])
    await client.flush(name)
    params = client.prepare_index_params()
    params.add_index("vector", index_type=kind, metric_type="IP", params=build_params(kind))
    with contextlib.suppress(grpc.RpcError):  # Milvus Lite lacks the call that waits
        await client.create_index(name, params)
    await client.load_collection(name)
    return vectors


def _directions(rows: int, seed: int) -> Matrix:
    """Return unit vectors that cluster, as those of a model do."""
    centres = np.random.default_rng(0).normal(size=(64, DIMENSION))
    rng = np.random.default_rng(seed)
    values = centres[rng.integers(0, 64, rows)] + rng.normal(size=(rows, DIMENSION))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


async def _search(
    client: AsyncMilvusClient, name: str, vectors: Matrix, expression: str, params: dict[str, int]
) -> Any:
    return await client.search(
        name,
        list(vectors),
        filter=expression,
        limit=20,
        anns_field="vector",
        search_params={"metric_type": "IP", "params": params},
        consistency_level="Bounded",
    )


async def _milliseconds(once: Callable[[], Awaitable[object]]) -> float:
    """Return the time of the fastest of many calls: other load on the machine only adds to it."""
    await once()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await once()
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


if __name__ == "__main__":
    asyncio.run(main())
