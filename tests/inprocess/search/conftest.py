"""A search service in this process, over a Milvus Lite of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, catalogue

from marquee.search.v1 import index_pb2, search_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from marquee.type.v1 import types_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service.__main__ import wire
from search_service.contract.messages import movie_message
from search_service.index.vector_index import IndexedMovie, Vectors
from search_service.settings import SearchSettings


@dataclass(frozen=True)
class Service:
    """What a client of the service has."""

    search: SearchServiceStub
    index: IndexServiceStub
    channel: grpc.aio.Channel


def settings(uri: str | Path, **others: object) -> SearchSettings:
    """Settings of a service that lives as long as a test."""
    return SearchSettings(
        milvus_uri=str(uri), port=0, metrics_port=None, shutdown_delay_s=0, **others
    )


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A search service without indexes."""
    async with (
        serving(settings(tmp_path / "milvus.db"), wire, Telemetry("search_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Service(SearchServiceStub(channel), IndexServiceStub(channel), channel)


async def saw_nothing(user_ids: Collection[int]) -> dict[int, NDArray[np.int64]]:
    """Say that these users have seen no movie."""
    return dict.fromkeys(user_ids, np.empty(0, np.int64))


def vectors_message(vectors: Vectors) -> types_pb2.Vectors:
    """Vectors as they travel."""
    return types_pb2.Vectors(
        dimension=vectors.values.shape[1],
        data=np.ascontiguousarray(vectors.values, "<f4").tobytes(),
        model_version=vectors.model_version,
    )


def create_request(name: str = "movies", **fields: object) -> index_pb2.CreateIndexRequest:
    """A request that is right, but for the fields given."""
    right = {"model_version": MODEL, "dimension": DIMENSION, "metric": "IP", "genres": GENRES}
    return index_pb2.CreateIndexRequest(name=name, **(right | fields))


def upsert_request(
    movies: list[IndexedMovie], vectors: Vectors, index: str = "movies"
) -> index_pb2.UpsertMoviesRequest:
    """A request to write movies."""
    return index_pb2.UpsertMoviesRequest(
        index=index, movies=map(movie_message, movies), vectors=vectors_message(vectors)
    )


def search_request(
    vectors: Vectors, *queries: search_pb2.MovieQuery, index: str = ""
) -> search_pb2.SearchMoviesRequest:
    """A request to search."""
    return search_pb2.SearchMoviesRequest(
        index=index, vectors=vectors_message(vectors), queries=queries
    )


async def build(service: Service, size: int = 50, name: str = "movies") -> list[IndexedMovie]:
    """Create, fill and activate an index over the wire; return its movies."""
    movies, vectors = catalogue(size)
    await service.index.CreateIndex(create_request(name))
    await service.index.UpsertMovies(upsert_request(movies, vectors, name))
    await service.index.ActivateIndex(
        index_pb2.ActivateIndexRequest(index=name, expected_movie_count=size)
    )
    return movies
