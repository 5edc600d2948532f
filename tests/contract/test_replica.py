"""When a replica is behind the Milvus that it copies."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.fixtures.movies import catalogue, spec

from search_service.resident.replica import MAX_STALENESS_SECONDS, Replica
from search_service.store.collection_loader import CollectionLoader
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def milvus(lite_uri: str) -> AsyncIterator[Milvus]:
    """A Milvus with one loaded index of 20 movies."""
    async with Milvus.connect(MilvusAddress(lite_uri), timeout=10) as milvus:
        await milvus.create(spec())
        movies, vectors = catalogue(20)
        await milvus.upsert(spec(), movies, vectors.values)
        await CollectionLoader(milvus, "flat", hnsw_from=1).ensure_loaded(spec().name)
        yield milvus


@pytest.mark.parametrize("shared", [True, False])
async def test_it_is_behind_until_its_first_synchronization(milvus: Milvus, shared: bool) -> None:
    replica = Replica(spec(), milvus, limit=20, shared=shared)
    assert (replica.is_behind, replica.usable) == (True, False)
    await replica.synchronize()
    assert (replica.is_behind, replica.usable) == (False, True)


@pytest.mark.parametrize("shared", [True, False])
async def test_it_falls_behind_with_time_only_where_others_can_write(
    milvus: Milvus, shared: bool
) -> None:
    clock = Clock()
    replica = Replica(spec(), milvus, limit=20, shared=shared, clock=clock)
    await replica.synchronize()
    clock.now += MAX_STALENESS_SECONDS - 0.1
    assert not replica.is_behind
    clock.now += 0.1
    assert replica.is_behind == shared
    await replica.synchronize()
    assert not replica.is_behind


@pytest.mark.parametrize("shared", [True, False])
async def test_a_failed_write_leaves_it_behind_until_it_is_synchronized(
    milvus: Milvus, shared: bool
) -> None:
    replica = Replica(spec(), milvus, limit=20, shared=shared)
    await replica.synchronize()
    replica.invalidate()
    assert (replica.is_behind, replica.usable) == (True, False)
    await replica.synchronize()
    assert not replica.is_behind


async def test_over_the_limit_it_is_not_usable(milvus: Milvus) -> None:
    replica = Replica(spec(), milvus, limit=19, shared=False)
    await replica.synchronize()
    assert (
        replica.over_limit == "index 'movies' holds 20 movies, more than the 19 of resident_limit"
    )
    assert not replica.usable
