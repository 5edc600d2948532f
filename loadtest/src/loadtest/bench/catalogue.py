"""Indexes of made movies, built as users build them: through the services' own RPCs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.clients import LoadError
from loadtest.workload import movie, unit_vectors
from marquee.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from marquee.search.v1 import index_pb2, index_pb2_grpc
from marquee.type.v1 import types_pb2
from rpckit.calling.channel import connect
from rpckit.settings.client import ClientSettings

MOVIES = 3883
"""As many as MovieLens-1M has."""
_EMBED_ROWS, _UPSERT_ROWS = 256, 1000
_BUILD_SECONDS = 3600.0
"""Longest that one call may take; activation of a large index waits for Milvus to build it."""
GENRES = ("Action", "Comedy", "Crime", "Documentary", "Drama", "Film-Noir", "Romance", "Thriller")


def build(embedder: ClientSettings, search: ClientSettings, movies: int = MOVIES) -> str:
    """Embed made movies, index them, activate the index and return its name.

    An index of the same model and size that is active already is left as it is.

    Raises:
        LoadError: A call failed.
    """
    return asyncio.run(_build(embedder, search, movies))


def build_made(
    search: ClientSettings,
    name: str,
    *,
    movies: int,
    dimension: int,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[float, float]:
    """Index made vectors instead, clustered as a model's are, and activate the index.

    Args:
        search: The search service.
        name: Of the index.
        movies: How many.
        dimension: Of the vectors.
        progress: Told how many more are written.

    Returns:
        Seconds of writing, and seconds until it was active.

    Raises:
        LoadError: A call failed.
    """
    return asyncio.run(_build_made(search, name, movies, dimension, progress))


def made_vectors(movies: int, dimension: int) -> Iterator[bytes]:
    """Yield float32 rows of unit length, 1000 at a time."""
    for first in range(0, movies, _UPSERT_ROWS):
        rows = min(_UPSERT_ROWS, movies - first)
        yield clustered(rows, dimension, seed=first + 1).astype("<f4").tobytes()


def clustered(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return directions around 256 centres, as tastes are: float32 [rows, dimension]."""
    centres = unit_vectors(256, dimension, seed=2**31)
    chosen = np.random.default_rng(seed).integers(len(centres), size=rows)
    vectors = centres[chosen] + unit_vectors(rows, dimension, seed)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


async def _build(embedder: ClientSettings, search: ClientSettings, movies: int) -> str:
    async with connect(embedder) as embedding, connect(search) as searching:
        tower = embedder_pb2_grpc.EmbedderServiceStub(embedding.grpc)
        index = index_pb2_grpc.IndexServiceStub(searching.grpc)
        try:
            model = await tower.GetModel(embedder_pb2.GetModelRequest())
            name = f"bench_{model.version}"
            existing = await index.ListIndexes(index_pb2.ListIndexesRequest())
            for each in existing.indexes:
                if each.name == name and each.active and each.movie_count == movies:
                    return name
            if name not in {each.name for each in existing.indexes}:
                await index.CreateIndex(
                    index_pb2.CreateIndexRequest(
                        name=name,
                        model_version=model.version,
                        dimension=model.dimension,
                        genres=model.genres,
                    )
                )
            made = [movie(each, tuple(model.genres)) for each in range(1, movies + 1)]
            for batch in _chunks(made, min(_EMBED_ROWS, model.max_batch)):
                embedded = await tower.EmbedMovies(embedder_pb2.EmbedMoviesRequest(movies=batch))
                await index.UpsertMovies(
                    index_pb2.UpsertMoviesRequest(
                        index=name, movies=batch, vectors=embedded.vectors
                    )
                )
            await index.ActivateIndex(
                index_pb2.ActivateIndexRequest(index=name, expected_movie_count=movies),
                timeout=_BUILD_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            raise LoadError(f"the index was not built: {_words(error)}") from error
        return name


async def _build_made(
    search: ClientSettings,
    name: str,
    movies: int,
    dimension: int,
    progress: Callable[[int], None],
) -> tuple[float, float]:
    async with connect(search) as channel:
        index = index_pb2_grpc.IndexServiceStub(channel.grpc)
        try:
            await index.CreateIndex(
                index_pb2.CreateIndexRequest(
                    name=name, model_version="made", dimension=dimension, genres=GENRES
                )
            )
            begun = time.monotonic()
            written = 0
            for data in made_vectors(movies, dimension):
                rows = len(data) // (4 * dimension)
                ids = range(written + 1, written + rows + 1)
                await index.UpsertMovies(
                    index_pb2.UpsertMoviesRequest(
                        index=name,
                        movies=[movie(each, GENRES) for each in ids],
                        vectors=types_pb2.Vectors(
                            dimension=dimension, data=data, model_version="made"
                        ),
                    ),
                    timeout=_BUILD_SECONDS,
                )
                written += rows
                progress(rows)
            upserted = time.monotonic()
            await index.ActivateIndex(
                index_pb2.ActivateIndexRequest(index=name, expected_movie_count=movies),
                timeout=_BUILD_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            raise LoadError(f"the index was not built: {_words(error)}") from error
        return upserted - begun, time.monotonic() - upserted


def _chunks(items: Sequence[types_pb2.Movie], size: int) -> Iterator[Sequence[types_pb2.Movie]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _words(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
