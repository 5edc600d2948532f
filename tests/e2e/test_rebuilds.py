"""Indexing again and again over two search replicas on one Milvus server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.fixtures.milvus import wipe

from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import index_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from suite.index_builder import BuiltIndex, build_index
from suite.ports import free_ports
from suite.server_process import ServerProcess
from suite.services import SEARCH, SEARCH_SERVICE
from suite.three_services import server_of, target_of

REBUILDS = 20
KILLS = {6: 0, 13: 1}
"""Which replica is killed before which rebuild."""
DIMENSION = 16
READY_SECONDS = 60


class Embedder:
    """Answers as the embedder does, with random vectors."""

    async def GetModel(
        self, request: embedder_pb2.GetModelRequest, timeout: float
    ) -> embedder_pb2.GetModelResponse:
        return embedder_pb2.GetModelResponse(
            name="random", version="1", dimension=DIMENSION, metric="IP", genres=["Drama"],
            max_batch=100,
        )  # fmt: skip

    async def EmbedMovies(
        self, request: embedder_pb2.EmbedMoviesRequest, timeout: float
    ) -> embedder_pb2.EmbedMoviesResponse:
        values = np.random.default_rng().normal(size=(len(request.movies), DIMENSION))
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        vectors = types_pb2.Vectors(
            dimension=DIMENSION, data=values.astype("<f4").tobytes(), model_version="1"
        )
        return embedder_pb2.EmbedMoviesResponse(vectors=vectors)


@pytest.fixture
def replicas(milvus_uri: str, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two search services on a Milvus server without indexes."""
    asyncio.run(wipe(milvus_uri))
    flags = [f"--milvus-uri={milvus_uri}", "--metrics-port=0", "--shutdown-delay-s=0"]
    replicas = [server_of(SEARCH, flags, port=port) for port in free_ports(2)]
    try:
        for number, replica in enumerate(replicas):
            replica.start(log=tmp_path / f"search-{number}.log")
        for replica in replicas:
            replica.wait_until_started()
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()


async def rebuild(target: str, movies: int) -> BuiltIndex:
    """Build an index with calls that go to every replica in turn."""
    catalogue = [
        types_pb2.Movie(movie_id=number, title=f"Movie {number}", genres=["Drama"])
        for number in range(1, movies + 1)
    ]
    config = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        return await build_index(Embedder(), IndexServiceStub(channel), catalogue)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_an_index_can_be_rebuilt_any_number_of_times(
    replicas: list[ServerProcess], tmp_path: Path
) -> None:
    target = target_of(replicas)
    for number in range(REBUILDS):
        if (victim := KILLS.get(number)) is not None:
            replicas[victim].kill()
            replicas[victim].start(log=tmp_path / f"search-{victim}-again.log")
            await asyncio.to_thread(
                replicas[victim].wait_until_serving, SEARCH_SERVICE, READY_SECONDS
            )
        movies = 210 + number
        built = await rebuild(target, movies)
        assert built.index.movie_count == movies
        assert not built.kept
        for replica in replicas:
            async with grpc.aio.insecure_channel(replica.target) as channel:
                answer = await IndexServiceStub(channel).ListIndexes(
                    index_pb2.ListIndexesRequest(), timeout=60
                )
            assert [(each.name, each.movie_count) for each in answer.indexes] == [
                (built.index.name, movies)
            ]
    for number in range(len(replicas)):
        for log in (f"search-{number}.log", f"search-{number}-again.log"):
            assert "Traceback" not in (tmp_path / log).read_text()
