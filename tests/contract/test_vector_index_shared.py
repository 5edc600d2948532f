"""Two search services on one Milvus: what one does, the other sees within stated bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
from tests.contract.conftest import ready, seconds_until
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import catalogue, spec, unit_vectors

from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import (
    IndexNotFoundError,
    ModelMismatchError,
    StoreUnavailableError,
)
from search_service.index.query import Query
from search_service.index.vector_index import IndexSpec, VectorIndex
from search_service.open_index import open_index
from search_service.settings import SearchSettings
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus

CACHE_SECONDS = 1.0
VISIBLE_SECONDS = 5.0
"""Milvus's own bound for reads of another client (common.gracefulTime)."""


@pytest.fixture(params=["milvus", "resident"])
async def services(
    request: pytest.FixtureRequest, milvus_uri: str
) -> AsyncIterator[tuple[VectorIndex, VectorIndex]]:
    await wipe(milvus_uri)
    settings = SearchSettings(
        milvus_uri=milvus_uri, movie_cache_max_age_s=CACHE_SECONDS, engine=request.param
    )
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(open_index(settings, Telemetry("test")))
            for _ in range(2)
        ]
        yield one, two


async def build(index: VectorIndex, made: IndexSpec, size: int) -> None:
    await index.create(made)
    movies, vectors = catalogue(size)
    await index.upsert(made, movies, replace(vectors, model_version=made.model_version))


async def test_the_other_service_follows_the_active_index(
    services: tuple[VectorIndex, VectorIndex],
) -> None:
    one, two = services
    first, second = spec("first"), spec("second")
    await build(one, first, 20)
    await build(one, second, 30)
    for index in (first, second):
        await one.activate(index, None)

        async def follows(name: str = index.name) -> bool:
            return await ready(two) and (await two.resolve("")).name == name

        assert await seconds_until(follows) < 2
    await one.drop(first)
    (hits,) = await two.search(await two.resolve(""), unit_vectors(1, 1), [Query(100)])
    assert len(hits) == 30


async def test_the_other_service_sees_writes_and_new_titles(
    services: tuple[VectorIndex, VectorIndex],
) -> None:
    one, two = services
    await build(one, spec(), 20)
    (before,) = await two.search(spec(), unit_vectors(1, 1), [Query(20)])  # fills its cache
    new = replace(before[0].movie, title="Another title", genres=("Sci-Fi",))
    await one.upsert(spec(), [new], unit_vectors(1, 1))

    async def sees_it() -> bool:
        (hits,) = await two.search(spec(), unit_vectors(1, 1), [Query(1)])
        return hits[0].movie == new and hits[0].similarity > 0.999

    assert await seconds_until(sees_it) < CACHE_SECONDS + VISIBLE_SECONDS
    await one.delete_movies(spec(), [new.movie_id])

    async def is_gone() -> bool:
        (hits,) = await two.search(spec(), unit_vectors(1, 1), [Query(20)])
        return len(hits) == 19

    assert await seconds_until(is_gone) < VISIBLE_SECONDS


async def test_a_new_title_in_the_active_index_is_seen_before_what_is_kept_of_it_is_old(
    services: tuple[VectorIndex, VectorIndex],
) -> None:
    one, two = services
    await build(one, spec(), 20)
    await one.activate(spec(), 20)

    await seconds_until(lambda: ready(two))
    (before,) = await two.search(spec(), unit_vectors(1, 1), [Query(20)])
    new = replace(before[0].movie, title="Another title")
    await one.upsert(spec(), [new], unit_vectors(1, 1))

    async def sees_it() -> bool:
        (hits,) = await two.search(spec(), unit_vectors(1, 1), [Query(1)])
        return hits[0].movie == new

    assert await seconds_until(sees_it) < 2 + VISIBLE_SECONDS


async def test_an_index_that_was_made_anew_elsewhere_is_not_mixed_up(
    services: tuple[VectorIndex, VectorIndex],
) -> None:
    one, two = services
    old, new = spec(), spec(model_version="model-2")
    await build(one, old, 20)
    await two.search(old, unit_vectors(1, 1), [Query(1)])
    await one.drop(old)
    with pytest.raises(IndexNotFoundError):
        await two.search(old, unit_vectors(1, 1), [Query(1)])
    await build(one, new, 30)

    async def knows() -> bool:
        return (await two.resolve("movies")).model_version == "model-2"

    assert await seconds_until(knows) < 2
    resolved = await two.resolve("movies")
    with pytest.raises(ModelMismatchError):
        await two.search(resolved, unit_vectors(1, 1), [Query(1)])
    vectors = unit_vectors(1, 1, "model-2")
    (hits,) = await two.search(resolved, vectors, [Query(100)])
    assert len(hits) == 30


async def test_a_name_is_used_again_and_again_by_both_services(
    services: tuple[VectorIndex, VectorIndex],
) -> None:
    for number in range(3):
        one, two = services[:: -1 if number % 2 else 1]
        await one.create(spec())
        movies, vectors = catalogue(20 + number)
        await two.upsert(spec(), movies, vectors)
        await one.upsert(spec(), movies[:1], replace(vectors, values=vectors.values[:1]))
        for service in services:

            async def found(service: VectorIndex = service, size: int = len(movies)) -> bool:
                with suppress(StoreUnavailableError):
                    (hits,) = await service.search(spec(), unit_vectors(1, 1), [Query(100)])
                    return len(hits) == size
                return False

            assert await seconds_until(found) < VISIBLE_SECONDS
        await two.drop(spec())


async def test_to_list_an_index_is_not_to_load_it(
    services: tuple[VectorIndex, VectorIndex], milvus_uri: str
) -> None:
    one, two = services
    await build(one, spec(), 20)
    assert [info.spec for info in await two.list_indexes()] == [spec()]
    async with Milvus.connect(MilvusAddress(milvus_uri), timeout=10) as milvus:
        assert not await milvus.is_loaded(spec().name)


async def test_an_alias_is_not_the_name_of_an_index(
    services: tuple[VectorIndex, VectorIndex], milvus_uri: str
) -> None:
    await build(services[0], spec(), 20)
    async with Milvus.connect(MilvusAddress(milvus_uri), timeout=10) as milvus:
        await milvus.set_alias("somebody_s_alias", spec().name)
    with pytest.raises(IndexNotFoundError, match="somebody_s_alias"):
        await services[1].resolve("somebody_s_alias")
