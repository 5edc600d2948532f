"""What is known of the versions, with services that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.versions import CurrentVersions, Versions
from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from rpckit.errors import UpstreamError

FRESH_SECONDS = 0.4


class Services:
    def __init__(self) -> None:
        self.model_version = "model-1"
        self.index_version = "index-1"
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.timeouts: set[float] = set()

    async def get_model(
        self, request: object, *, timeout: float, **_: object
    ) -> embedder_pb2.GetModelResponse:
        self.timeouts.add(timeout)
        return embedder_pb2.GetModelResponse(version=self.model_version)

    async def get_index_version(
        self, request: object, *, timeout: float, **_: object
    ) -> search_pb2.GetIndexVersionResponse:
        self.timeouts.add(timeout)
        said = self.index_version
        await self.gate.wait()
        if self.fails:
            raise self.fails
        return search_pb2.GetIndexVersionResponse(index_version=said)


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
async def versions(services: Services) -> AsyncIterator[CurrentVersions]:
    current = CurrentVersions(services.get_model, services.get_index_version, fresh=FRESH_SECONDS)
    assert current.get() is None
    async with current.running():
        await until(lambda: current.get() == Versions("model-1", "index-1"))
        yield current


async def until(holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 2 * FRESH_SECONDS
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_a_change_of_either_is_seen(services: Services, versions: CurrentVersions) -> None:
    services.index_version = "index-2"
    await until(lambda: versions.get() == Versions("model-1", "index-2"))
    services.model_version = "model-2"
    await until(lambda: versions.get() == Versions("model-2", "index-2"))


async def test_while_a_service_fails_nothing_is_known(
    services: Services, versions: CurrentVersions
) -> None:
    services.fails = UpstreamError("gone")
    await until(lambda: versions.get() is None)
    services.fails = None
    await until(lambda: versions.get() is not None)


async def test_an_index_without_a_version_is_not_known(
    services: Services, versions: CurrentVersions
) -> None:
    services.index_version = ""
    await until(lambda: versions.get() is None)


async def test_what_was_said_too_long_ago_does_not_count_though_the_question_is_under_way(
    services: Services, versions: CurrentVersions
) -> None:
    services.gate.clear()
    await until(lambda: versions.get() is None)


async def test_a_late_answer_counts_from_when_it_was_asked_for(
    services: Services, versions: CurrentVersions
) -> None:
    services.gate.clear()
    await asyncio.sleep(2 * FRESH_SECONDS)
    services.index_version = "index-2"  # after the question that is under way was read
    services.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert versions.get() != Versions("model-1", "index-1")
    await until(lambda: versions.get() == Versions("model-1", "index-2"))


async def test_a_service_has_no_longer_than_its_answer_would_count(
    services: Services, versions: CurrentVersions
) -> None:
    assert services.timeouts == {FRESH_SECONDS}
