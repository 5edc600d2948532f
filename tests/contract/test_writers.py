"""What other processes write is seen, whatever their clocks say and even if they die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient
from tests.contract.conftest import (
    BOUND_SECONDS,
    RESIDENT,
    Opened,
    activate,
    engine,
    found,
    ready,
    seconds_until,
)
from tests.fixtures.movies import spec, unit_vectors
from tests.fixtures.writer import write_elsewhere

from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import VectorIndex
from search_service.open_index import open_index
from search_service.settings import SearchSettings
from search_service.store.active_index_watcher import POLL_INTERVAL_SECONDS
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus

NEW = 9_000
"""Id of a movie that the catalogue has not."""


@pytest.fixture(params=["milvus", "resident"])
async def service(request: pytest.FixtureRequest, opened: Opened) -> VectorIndex:
    """A search service over a server with an active index of 20 movies, for others to write to."""
    index = await opened(engine=request.param)
    await activate(index, spec(), 20)
    await seconds_until(lambda: ready(index))
    return index


@pytest.fixture
async def milvus(empty_server: str) -> AsyncIterator[Milvus]:
    """A client of the server, with which a test makes single steps of a writer."""
    async with Milvus.connect(MilvusAddress(empty_server), timeout=10) as milvus:
        yield milvus


@pytest.fixture
async def shared_lite(lite_uri: str) -> AsyncIterator[VectorIndex]:
    """A search service over a Milvus Lite that others can reach, too."""
    settings = SearchSettings(milvus_uri=lite_uri, engine="resident")
    async with open_index(settings, Telemetry("test")) as index:
        yield index


async def titles(index: VectorIndex) -> dict[int, str]:
    return {movie.movie_id: movie.title for movie in await found(index)}


async def seconds_until_title(index: VectorIndex, movie_id: int, title: str) -> float:
    async def seen() -> bool:
        return (await titles(index)).get(movie_id) == title

    return await seconds_until(seen)


async def test_the_writers_clock_does_not_matter(opened: Opened, empty_server: str) -> None:
    index = await opened()
    await activate(index, spec(), 20)
    for skew in (25, -25):
        title = f"By a clock that is {skew} s ahead"
        await asyncio.to_thread(write_elsewhere, empty_server, NEW, title, skew=skew)
        assert await seconds_until_title(index, NEW, title) < BOUND_SECONDS
        assert await engine(index) == RESIDENT


async def test_the_write_of_a_process_that_was_killed_is_seen(
    service: VectorIndex, empty_server: str
) -> None:
    movie_id = min(await titles(service))
    title = "Last words"
    # Read all the time, so that every title is cached whenever it can be.
    seen = asyncio.create_task(seconds_until_title(service, movie_id, title))
    await asyncio.to_thread(write_elsewhere, empty_server, movie_id, title, dies=True)
    async with asyncio.timeout(BOUND_SECONDS):
        await seen


async def test_what_a_writer_did_last_is_seen_though_anothers_edition_came_after_its_own(
    service: VectorIndex, milvus: Milvus
) -> None:
    one, another = list(await found(service))[:2]
    await milvus.renew_edition("movies")  # one begins
    await service.upsert(spec(), [replace(another, title="Whole")], unit_vectors(1, 2))
    await asyncio.sleep(1)
    began = time.monotonic()
    await milvus.upsert(spec(), [replace(one, title="Half")], unit_vectors(1, 3).values)
    await seconds_until_title(service, one.movie_id, "Half")
    # At most as long again as since the last edition, and a poll and its reads
    assert time.monotonic() - began < 1 + BOUND_SECONDS
    assert (await titles(service))[another.movie_id] == "Whole"


@pytest.mark.parametrize("revision", [1, 2**63 - 1], ids=["lowest", "highest"])
async def test_movies_that_are_replaced_by_those_of_a_backup_are_seen(
    shared_lite: VectorIndex, lite_uri: str, revision: int
) -> None:
    index = shared_lite
    movies = await activate(index, spec(), 20)
    async with AsyncMilvusClient(uri=lite_uri, dedicated=True) as client:
        rows = await client.query("movies", "id > 0", ["*"])
        backup = [dict(row) | {"revision": revision} for row in rows]
        changed = [replace(movie, title="After the backup") for movie in movies]
        await index.upsert(spec(), changed, unit_vectors(20, 2))
        await client.upsert("movies", backup)  # without an edition, as a tool would

    async def restored_in_memory() -> bool:
        return await engine(index) == RESIDENT and await found(index) == set(movies)

    assert await seconds_until(restored_in_memory) < BOUND_SECONDS


async def test_writers_at_once_end_with_what_the_store_has(opened: Opened, milvus: Milvus) -> None:
    writers = [await opened() for _ in range(3)]
    movies = await activate(writers[0], spec(), 30)
    for writer in writers:
        await seconds_until(lambda writer=writer: ready(writer))

    async def write(number: int) -> None:
        for n in range(8):
            mine = [replace(movie, title=f"{number} wrote {n}") for movie in movies[n : n + 4]]
            await writers[number].upsert(spec(), mine, unit_vectors(4, seed=100 * number + n))
            await writers[number].delete_movies(spec(), [movies[15 + n].movie_id])

    await asyncio.gather(*(write(number) for number in range(3)))
    await asyncio.sleep(BOUND_SECONDS)
    await milvus.count("movies")
    stored = set(await milvus.page(spec(), 0, 100))
    assert len(stored) == 22
    for writer in writers:
        assert await engine(writer) == RESIDENT
        assert await found(writer) == stored


async def test_a_replica_without_news_reads_no_movie(
    shared_lite: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = shared_lite
    await activate(index, spec(), 20)
    reads: list[str] = []
    for name in ("stored_movies", "revisions"):
        real = getattr(Milvus, name)

        def counted(self: Milvus, *arguments: object, name: str = name, real=real) -> object:  # type: ignore[no-untyped-def]
            reads.append(name)
            return real(self, *arguments)

        monkeypatch.setattr(Milvus, name, counted)
    await asyncio.sleep(10 * POLL_INTERVAL_SECONDS)
    assert "stored_movies" not in reads
    assert reads.count("revisions") <= 4  # after 0.4, 0.8, 1.6 and 3.2 s
    assert await engine(index) == RESIDENT


async def test_a_cancelled_write_ends_before_the_next_begins_and_leaves_an_edition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SearchSettings(milvus_uri=str(tmp_path / "milvus.db"))
    async with AsyncExitStack() as stack:
        index = await stack.enter_async_context(open_index(settings, Telemetry("test")))
        movies = await activate(index, spec(), 20)
        begun, may_go_on = asyncio.Event(), asyncio.Event()
        steps: list[str] = []
        upsert, renew = Milvus.upsert, Milvus.renew_edition

        async def slow(self: Milvus, *arguments: object) -> int:
            steps.append("write")
            begun.set()
            await may_go_on.wait()
            return await upsert(self, *arguments)  # type: ignore[arg-type]

        async def noted(self: Milvus, name: str) -> None:
            steps.append("edition")
            await renew(self, name)

        monkeypatch.setattr(Milvus, "upsert", slow)
        monkeypatch.setattr(Milvus, "renew_edition", noted)
        titled = [replace(movies[0], title=title) for title in ("first", "second")]
        first, second = [
            asyncio.create_task(index.upsert(spec(), [movie], unit_vectors(1, 1)))
            for movie in titled
        ]
        await begun.wait()
        first.cancel()
        await asyncio.sleep(0.05)
        assert steps == ["edition", "write"]
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert steps == ["edition", "write", "edition"] * 2
        await asyncio.sleep(BOUND_SECONDS)
        assert await engine(index) == RESIDENT
        assert titled[1] in await found(index)
