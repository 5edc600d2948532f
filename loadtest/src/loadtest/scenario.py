"""Scenario of `marquee bench run`: several loads of one workload, one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc

from loadtest import h2load, resources
from loadtest.clients import LoadClient, LoadError, measure
from loadtest.job import Job
from loadtest.load import ClosedLoop, Load
from loadtest.measurement import Measurement
from loadtest.sampling import sample
from loadtest.workload import METHODS, VectorSpace, Workload
from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.search.v1 import search_pb2
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.calling.channel import connect
from rpckit.settings.client import ClientSettings

_Response = TypeVar("_Response")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Several loads of one workload."""

    name: str
    endpoints: Mapping[str, ClientSettings]
    """Client settings for each method of the workload."""
    workload: Workload
    loads: Sequence[Load]
    duration: float = 10.0
    """Measured seconds of each load."""
    warm_up: float = 2.0
    processes: int = 1
    connections: int = 1
    client: LoadClient = LoadClient.WIRE
    servers: Mapping[str, int] | None = None
    """Processes whose CPU is measured. None: those that listen at the endpoints, if local."""

    def run(self, done: Callable[[Measurement], None]) -> list[Measurement]:
        """Run the loads in order.

        Args:
            done: Called with each measurement.

        Raises:
            LoadError: A server cannot be reached, a call failed, or the client does not
                support the load.
        """
        servers = local_servers(self.endpoints) if self.servers is None else self.servers
        for method, endpoint in self.endpoints.items():
            sample(endpoint, method, self.workload.messages(method)[:1])
        measured = []
        for load in self.loads:
            measured.append(self._measure(load, servers))
            done(measured[-1])
        return measured

    def _measure(self, load: Load, servers: Mapping[str, int]) -> Measurement:
        if self.client is LoadClient.H2LOAD:
            return self._h2load(load, servers)
        job = Job(
            self.endpoints,
            self.workload,
            load,
            duration=self.duration,
            warm_up=self.warm_up,
            connections=self.connections,
        )
        return measure(job, name=self.name, processes=self.processes, servers=servers)

    def _h2load(self, load: Load, servers: Mapping[str, int]) -> Measurement:
        if not isinstance(load, ClosedLoop) or len(self.endpoints) > 1:
            raise LoadError("h2load runs only a closed loop of one method; use the wire client")
        ((method, endpoint),) = self.endpoints.items()
        connections = min(self.connections if self.connections > 1 else 8, load.concurrency)
        return h2load.measure(
            endpoint,
            method,
            self.workload,
            name=self.name,
            connections=connections,
            streams=max(1, load.concurrency // connections),
            duration=self.duration,
            warm_up=self.warm_up,
            servers=servers,
        )


def complete(
    workload: Workload, endpoints: Mapping[str, ClientSettings], embedder: ClientSettings | None
) -> Workload:
    """Complete a workload with facts from the services: genres, vector space and vectors.

    Args:
        workload: Workload without them.
        endpoints: Client settings for each of its methods.
        embedder: Embedder for the vectors of SearchMovies. None: random vectors.

    Raises:
        LoadError: A service does not answer.
    """
    if "EmbedMovies" in workload.mix:
        workload = replace(workload, genres=genres(endpoints["EmbedMovies"]))
    if "SearchMovies" in workload.mix:
        workload = replace(workload, space=search_space(endpoints["SearchMovies"]))
        if embedder is not None:
            workload = replace(workload, vectors=user_vectors(embedder, workload))
    return workload


def search_space(search: ClientSettings) -> VectorSpace:
    """Return the vector space of the active index.

    Raises:
        LoadError: The search service does not answer, or no index is active.
    """
    request = search_pb2.GetIndexRequest()
    index = _call(
        search, "index", lambda channel: SearchServiceStub(channel).GetIndex(request)
    ).index
    return VectorSpace(index.dimension, index.model_version)


def genres(embedder: ClientSettings) -> tuple[str, ...]:
    """Return the genres that the embedder's model knows.

    Raises:
        LoadError: The embedder does not answer.
    """
    request = embedder_pb2.GetModelRequest()
    model = _call(embedder, "model", lambda channel: EmbedderServiceStub(channel).GetModel(request))
    return tuple(model.genres)


def user_vectors(embedder: ClientSettings, workload: Workload) -> bytes:
    """Return the vectors of some users of the workload, as the embedder makes them.

    Raises:
        LoadError: The embedder does not answer.
    """
    requests = replace(workload, mix={"EmbedUsers": 1.0}, batch=1).messages("EmbedUsers")[:512]
    replies = sample(embedder, "EmbedUsers", requests)
    return b"".join(
        embedder_pb2.EmbedUsersResponse.FromString(each).vectors.data for each in replies
    )


def local_servers(endpoints: Mapping[str, ClientSettings]) -> dict[str, int]:
    """Return the processes on this machine that listen where the endpoints are, by service."""
    found = {}
    for method, endpoint in endpoints.items():
        host, _, port = endpoint.target.rpartition(":")
        if host in {"127.0.0.1", "localhost", "[::1]"} and port.isdigit():
            pid = resources.listener(int(port))
            if pid is not None:
                found[METHODS[method].rpartition(".")[2].partition("/")[0]] = pid
    return found


def _call(
    endpoint: ClientSettings, what: str, call: Callable[[grpc.aio.Channel], Awaitable[_Response]]
) -> _Response:
    """Return the response of one call, made on a channel of its own."""

    async def run() -> _Response:
        async with connect(endpoint) as channel:
            try:
                return await call(channel.grpc)
            except grpc.aio.AioRpcError as error:
                raise LoadError(f"the {what} of {endpoint.target}: {error.details()}") from error

    return asyncio.run(run())
