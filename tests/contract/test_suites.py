"""Suites that share a Milvus server: in databases of their own, or by mistake in one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymilvus import AsyncMilvusClient
from tests.contract.conftest import Opened, build, found, ready, seconds_until
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import spec

from rpckit.errors import NotReadyError
from search_service.index.errors import NoActiveIndexError, OtherSuiteError

DATABASE = "staging"


@pytest.fixture
async def database(empty_server: str) -> AsyncIterator[str]:
    """A second database of the server."""
    async with AsyncMilvusClient(uri=empty_server, dedicated=True, timeout=10) as client:
        await client.create_database(DATABASE)
        yield DATABASE
        await wipe(empty_server, DATABASE)
        await client.drop_database(DATABASE)


@pytest.mark.parametrize("engine", ["milvus", "resident"])
async def test_suites_in_databases_of_their_own_do_not_meet(
    opened: Opened, database: str, engine: str
) -> None:
    first = await opened(engine=engine)
    second = await opened(engine=engine, milvus_database=database)
    await first.activate(await build(first, 100), 100)
    with pytest.raises(NoActiveIndexError):
        await second.resolve("")
    assert await second.list_indexes() == []
    await second.activate(await build(second, 40), 40)
    assert (len(await found(first)), len(await found(second))) == (100, 40)


async def test_a_suite_takes_over_nothing_of_another_in_the_same_database(opened: Opened) -> None:
    ours = await opened(suite="production")
    await ours.activate(await build(ours, 100), 100)
    theirs = await opened(suite="staging")
    with pytest.raises(NotReadyError, match="production"):
        await theirs.check_active()
    await theirs.check_store()

    other = await build(theirs, 40, "other")
    with pytest.raises(OtherSuiteError, match="production"):
        await theirs.activate(other, 40)
    with pytest.raises(OtherSuiteError):
        await theirs.resolve(spec().name)
    with pytest.raises(OtherSuiteError):
        await theirs.drop(spec())
    assert [info.spec.name for info in await theirs.list_indexes()] == ["other"]
    assert [info.spec.name for info in await ours.list_indexes()] == [spec().name]
    await theirs.drop(other)
    assert await theirs.list_indexes() == []

    async def still_ready() -> bool:
        return await ready(ours)

    await seconds_until(still_ready)
    assert (await ours.resolve("")).name == spec().name
    assert len(await found(ours)) == 100


async def test_a_database_that_does_not_exist_is_named(opened: Opened) -> None:
    index = await opened(engine="milvus", milvus_database="nowhere")
    for check in (index.check_store, index.check_active):
        with pytest.raises(NotReadyError, match="nowhere"):
            await check()
