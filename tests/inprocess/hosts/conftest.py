"""Every test of this folder runs on both hosts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.inprocess.hosts.processes import PuppetProcess, connected

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub


@pytest.fixture(scope="module", params=["grpcio", "envoy"])
def host(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def target(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with default settings, for all tests of a module that leave it as it was."""
    puppet = PuppetProcess(host, tmp_path_factory.mktemp(host) / "log")
    try:
        yield puppet.target
    finally:
        puppet.stop()


@pytest.fixture
def start(host: str, tmp_path: Path) -> Iterator[Callable[..., PuppetProcess]]:
    """Start servers of a test's own; keyword arguments are settings."""
    with ExitStack() as stack:

        def start(**settings: object) -> PuppetProcess:
            started = PuppetProcess(host, tmp_path / f"log-{time.monotonic_ns()}", **settings)
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
async def stub(target: str) -> AsyncIterator[EmbedderServiceStub]:
    async with connected(target) as channel:
        yield EmbedderServiceStub(channel)
