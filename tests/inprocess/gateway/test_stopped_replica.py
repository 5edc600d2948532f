"""One of two search replicas stops without a word, while callers of all patience go on calling."""

from __future__ import annotations

import asyncio
import re
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.fixtures.suite import PASSING, build, catalogue

from embedder_service import __main__ as embedder
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from gateway import __main__ as gateway
from gateway.settings import GatewaySettings
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from rpckit.settings.client import ClientSettings
from suite.health import wait_until_serving
from suite.ports import free_ports
from suite.server_process import ServerProcess
from suite.services import RECOMMENDER_SERVICE, SEARCH, SEARCH_SERVICE
from suite.three_services import server_of, target_of

HURRIED, PATIENT = 28, 4
"""Callers with a deadline of 1 s, and of 300."""
TRIES = 6
"""A caller's tries before a call counts as failed."""
OUT_OF_ROTATION_SECONDS = 3
"""Time after which a replica that stopped gets no calls: 2 s, and what a busy machine adds."""
SEARCHES = re.compile(r"marquee_rpc_server_requests_total\{.*SearchMovies.*\} ")


@dataclass
class Running:
    """A gateway over two search services, which are processes of their own."""

    recommender: RecommenderServiceStub
    searches: list[ServerProcess]
    metrics_ports: list[int]
    """Of the search services."""


@pytest.fixture
async def running(tiny_bundle: Bundle, tmp_path: Path) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:

        async def start(module, settings) -> tuple[str, grpc.aio.Channel]:
            context = serving(settings, module.wire, Telemetry(module.__name__))
            target = f"127.0.0.1:{(await stack.enter_async_context(context)).port}"
            channel = grpc.aio.insecure_channel(target)
            return target, await stack.enter_async_context(channel)

        embedding, embedder_channel = await start(
            embedder, EmbedderSettings(bundle=tiny_bundle.path, **PASSING)
        )
        searches = []
        *ports, one, two = free_ports(4)
        metrics_ports = [one, two]
        for number, port in enumerate(ports):
            flags = [f"--milvus-uri={tmp_path / f'{number}.db'}"]
            flags.append(f"--metrics-port={metrics_ports[number]}")
            search = server_of(SEARCH, flags, port=port)
            search.start(log=tmp_path / f"search-{number}.log")
            stack.callback(search.kill)
            searches.append(search)
        for search in searches:
            await asyncio.to_thread(search.wait_until_started)
            async with grpc.aio.insecure_channel(search.target) as channel:
                movies = catalogue(tiny_bundle)
                embeds = EmbedderServiceStub(embedder_channel)
                await build(IndexServiceStub(channel), embeds, tiny_bundle, movies)
            await asyncio.to_thread(search.wait_until_serving, SEARCH_SERVICE)
        _, gateway_channel = await start(
            gateway,
            GatewaySettings(
                embedder=ClientSettings(target=embedding),
                search=ClientSettings(target=target_of(searches)),
                **PASSING,
            ),
        )
        await wait_until_serving(gateway_channel, RECOMMENDER_SERVICE, 20)
        yield Running(RecommenderServiceStub(gateway_channel), searches, metrics_ports)


@dataclass
class Callers:
    """What all callers together have seen."""

    recommender: RecommenderServiceStub
    answered: int = 0
    failed_tries: int = 0
    failed: list[grpc.StatusCode] = field(default_factory=list)
    """Last statuses of the calls that failed in all tries."""
    stopped: bool = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for timeout in [1] * HURRIED + [300] * PATIENT:
                group.create_task(self._keep_calling(timeout))

    async def rate(self, seconds: float) -> float:
        """Return the answers per second from now on."""
        before, started = self.answered, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.answered - before) / (time.monotonic() - started)

    async def _keep_calling(self, timeout: float) -> None:
        while not self.stopped:
            for tries_left in reversed(range(TRIES)):
                try:
                    await self.recommender.Recommend(
                        pb.RecommendRequest(user={"age": 25}), timeout=timeout
                    )
                except grpc.aio.AioRpcError as error:
                    self.failed_tries += 1
                    if not tries_left:
                        self.failed.append(error.code())
                else:
                    self.answered += 1
                    break


@pytest.mark.timeout(120)
async def test_a_replica_that_stops_harms_nobody_for_long_and_comes_back(running: Running) -> None:
    callers = Callers(running.recommender)
    calling = asyncio.create_task(callers.run())
    stopping = running.searches[0]
    await callers.rate(1)
    whole = await callers.rate(2)

    stopping.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(OUT_OF_ROTATION_SECONDS)
        assert await callers.rate(3) >= whole / 2
    finally:
        stopping.send_signal(signal.SIGCONT)

    port = running.metrics_ports[0]
    answered = await asyncio.to_thread(searches_answered, port)
    async with asyncio.timeout(20):
        while await asyncio.to_thread(searches_answered, port) < answered + 10:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    callers.stopped = True
    await asyncio.wait_for(calling, 20)
    assert callers.failed == []
    assert callers.failed_tries <= 3 * HURRIED, "calls of 1 s fail for at most 2 s"


def searches_answered(metrics_port: int) -> float:
    """Return how many calls of SearchMovies a search service has answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    counts = [line.rpartition(" ")[2] for line in lines if SEARCHES.match(line)]
    return sum(map(float, counts))
