"""What answers, and what is ready, when the replica cannot."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pymilvus import AsyncMilvusClient
from tests.contract.conftest import (
    BOUND_SECONDS,
    RESIDENT,
    Opened,
    activate,
    engine,
    engine_is,
    found,
    is_resident,
    ready,
    seconds_until,
)
from tests.fixtures.movies import spec, unit_vectors

from rpckit.errors import NotReadyError
from search_service.index.errors import ModelMismatchError
from search_service.index.query import Query
from search_service.index.vector_index import IndexedMovie
from search_service.store import collection_schema
from search_service.store.milvus_client import Milvus


async def test_a_switch_is_answered_by_milvus_until_the_replica_is_complete(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await opened(engine="milvus"), await opened(engine="auto")
    first, second = spec("first"), spec("second", "model-2")
    old = set(await activate(one, first, 30))
    await seconds_until(lambda: is_resident(two, first))
    reads = asyncio.Event()
    real = Milvus.stored_movies

    async def slow(self: Milvus, *arguments: object) -> object:
        await reads.wait()
        return await real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Milvus, "stored_movies", slow)
    new = set(await activate(one, second, 50))

    async def follows() -> bool:
        return (await two.resolve("")).name == "second"

    await seconds_until(follows)
    for _ in range(10):
        assert await found(two, second) == new
        assert await engine(two, second) == "milvus FLAT"
        assert await found(two, first) == old
        await asyncio.sleep(0.05)
    assert await ready(two)
    reads.set()
    await seconds_until(lambda: is_resident(two, second))
    assert await found(two, second) == new
    assert await found(two, first) == old
    assert await engine(two, first) == "milvus FLAT"


async def test_a_store_that_contradicts_itself_makes_the_service_not_ready(
    opened: Opened, empty_server: str
) -> None:
    index = await opened(engine="auto")
    movies = await activate(index, spec(), 20)
    assert await ready(index)
    (twice,) = collection_schema.rows(spec(), movies[:1], unit_vectors(1, 1).values, revision=1)
    async with AsyncMilvusClient(uri=empty_server, dedicated=True) as client:
        await client.insert("movies", [twice])  # Milvus counts it, and finds it once

    async def not_ready() -> bool:
        return not await ready(index)

    assert await seconds_until(not_ready) < BOUND_SECONDS
    with pytest.raises(
        NotReadyError, match="Milvus counts 21 movies in index 'movies' but lists 20"
    ):
        await index.check_active()
    assert await engine(index) == "milvus FLAT"
    await index.delete_movies(spec(), [movies[0].movie_id])
    assert await seconds_until(lambda: ready(index)) < BOUND_SECONDS
    assert len(await found(index)) == 19
    assert await engine(index) == RESIDENT


async def test_an_index_whose_model_version_changes_is_never_answered_for_the_one_before(
    opened: Opened, empty_server: str
) -> None:
    index = await opened()
    await activate(index, spec(), 20)
    async with AsyncMilvusClient(uri=empty_server, dedicated=True) as client:
        changed = collection_schema.properties(replace(spec(), model_version="model-2"))
        await client.alter_collection_properties("movies", changed)

    async def knows() -> bool:
        return (await index.resolve("")).model_version == "model-2"

    assert await seconds_until(knows) < BOUND_SECONDS
    now = await index.resolve("")
    with pytest.raises(ModelMismatchError):
        await index.search(now, unit_vectors(1, 1), [Query(1)])
    assert len(await found(index, now)) == 20


async def test_an_index_over_the_limit_is_left_to_milvus_or_not_ready(opened: Opened) -> None:
    auto = await opened(engine="auto", resident_limit=20)
    movies = await activate(auto, spec(), 20)
    assert await engine(auto) == RESIDENT
    one_more = IndexedMovie(9_000, "", 0, ())
    await auto.upsert(spec(), [one_more], unit_vectors(1, 1))
    await seconds_until(lambda: engine_is(auto, "milvus FLAT"))
    assert await ready(auto)
    assert await found(auto) == {*movies, one_more}

    required = await opened(resident_limit=20)

    async def says_so() -> bool:
        try:
            await required.check_active()
        except NotReadyError as error:
            return "holds 21 movies, more than the 20 of resident_limit" in str(error)
        return False

    await seconds_until(says_so)
    await auto.delete_movies(spec(), [one_more.movie_id])
    await seconds_until(lambda: ready(required))
    await seconds_until(lambda: engine_is(auto, RESIDENT))
    assert await found(auto) == await found(required) == set(movies)


async def test_a_replica_that_cannot_look_at_the_store_is_not_asked(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await opened()
    await activate(index, spec(), 20)
    assert await engine(index) == RESIDENT

    async def silent(*_: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(Milvus, "revisions", silent)
    spent = await seconds_until(lambda: engine_is(index, "milvus FLAT"))
    assert spent < BOUND_SECONDS + 0.5
    assert len(await found(index)) == 20
