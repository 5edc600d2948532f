"""Indexes of synthetic movies, built through the RPCs of the services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.clients import LoadError
from loadtest.workload import movie, unit_vectors
from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.search.v1 import index_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from rpckit.calling.channel import connect
from rpckit.settings.client import ClientSettings
from suite.index_builder import (
    CALL_SECONDS,
    Batch,
    FilledIndex,
    build_index,
    fill_index,
    find_current_index,
)

MOVIES = 3883
"""As many as MovieLens-1M has."""
GENRES = ("Action", "Comedy", "Crime", "Documentary", "Drama", "Film-Noir", "Romance", "Thriller")
_MOVIES_PER_REQUEST = 1000
_WRITE_SECONDS = 3600.0
"""Timeout of a write to a large index."""


def index_synthetic_movies(
    embedder: ClientSettings, search: ClientSettings, movies: int = MOVIES
) -> str:
    """Embed and index synthetic movies, activate the index and return its name.

    An active index of the same model and size is reused.

    Raises:
        LoadError: A call failed.
    """

    async def build() -> str:
        async with connect(embedder) as to_embedder, connect(search) as to_search:
            model = EmbedderServiceStub(to_embedder.grpc)
            indexes = IndexServiceStub(to_search.grpc)
            if current := await find_current_index(model, indexes, movies):
                return current.name
            described = await model.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS)
            genres = tuple(described.genres)
            made = [movie(movie_id, genres) for movie_id in range(1, movies + 1)]
            return (await build_index(model, indexes, made)).index.name

    with _failures_as_load_errors():
        return asyncio.run(build())


def index_synthetic_vectors(
    search: ClientSettings,
    name: str,
    *,
    movies: int,
    dimension: int,
    progress: Callable[[int], None] = lambda _: None,
) -> FilledIndex:
    """Index synthetic vectors, clustered like those of a model, and activate the index.

    Existing indexes are kept.

    Args:
        search: Client settings of the search service.
        name: Name of the index.
        movies: Number of movies.
        dimension: Dimension of the vectors.
        progress: Called with the number of movies written since the last call.

    Raises:
        LoadError: A call failed.
    """
    description = index_pb2.CreateIndexRequest(
        name=name, model_version="made", dimension=dimension, genres=GENRES
    )

    async def fill() -> FilledIndex:
        async with connect(search) as channel:
            return await fill_index(
                IndexServiceStub(channel.grpc),
                description,
                _synthetic_batches(movies, dimension),
                progress,
                call_seconds=_WRITE_SECONDS,
            )

    with _failures_as_load_errors():
        return asyncio.run(fill())


def synthetic_vectors(movies: int, dimension: int) -> Iterator[bytes]:
    """Yield float32 rows of unit length, 1000 at a time."""
    for first in range(0, movies, _MOVIES_PER_REQUEST):
        rows = min(_MOVIES_PER_REQUEST, movies - first)
        yield clustered(rows, dimension, seed=first + 1).astype("<f4").tobytes()


def clustered(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return unit vectors around 256 centres: float32 [rows, dimension]."""
    centres = unit_vectors(256, dimension, seed=2**31)
    chosen = np.random.default_rng(seed).integers(len(centres), size=rows)
    vectors = centres[chosen] + unit_vectors(rows, dimension, seed)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


async def _synthetic_batches(movies: int, dimension: int) -> AsyncIterator[Batch]:
    first = 1
    for data in synthetic_vectors(movies, dimension):
        rows = len(data) // (4 * dimension)
        vectors = types_pb2.Vectors(dimension=dimension, data=data, model_version="made")
        yield Batch([movie(each, GENRES) for each in range(first, first + rows)], vectors)
        first += rows


@contextmanager
def _failures_as_load_errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise LoadError(
            f"the index was not built: {error.code().name}: {error.details()}"
        ) from error
