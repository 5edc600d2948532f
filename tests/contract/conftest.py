"""Every implementation of VectorIndex, services that share a Milvus, and helpers over both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import numpy as np
import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import DIMENSION, MODEL, catalogue, spec, unit_vectors

from rpckit.errors import NotReadyError
from rpckit.observing.telemetry import Telemetry
from search_service.index.query import Query
from search_service.index.vector_index import IndexedMovie, IndexSpec, VectorIndex, Vectors
from search_service.open_index import open_index
from search_service.resident import replica
from search_service.resident.exact_index import ExactIndex
from search_service.resident.resident_index import ResidentIndex
from search_service.settings import SearchSettings
from search_service.store.collection_loader import CollectionLoader
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus

RESIDENT = "resident exact"
BOUND_SECONDS = replica.MAX_STALENESS_SECONDS
"""Longest time from the return of a write until another search service sees it."""
Opened = Callable[..., Awaitable[VectorIndex]]


@pytest.fixture(
    params=[
        "exact",
        "lite",
        "server",
        "resident-lite",
        # Over a minute, nearly all of it Milvus's time to load a collection
        pytest.param("resident-server", marks=pytest.mark.slow),
    ]
)
def store(request: pytest.FixtureRequest) -> SearchSettings | None:
    """Settings that name the store and the engine. None: ExactIndex."""
    if request.param == "exact":
        return None
    uri = request.getfixturevalue("milvus_uri" if "server" in request.param else "lite_uri")
    engine = "resident" if "resident" in request.param else "milvus"
    return SearchSettings(milvus_uri=uri, engine=engine)


@pytest.fixture
async def milvus(lite_uri: str) -> AsyncIterator[Milvus]:
    """A Milvus with one loaded index of 20 movies."""
    async with Milvus.connect(MilvusAddress(lite_uri), timeout=10) as milvus:
        await milvus.create(spec())
        movies, vectors = catalogue(20)
        await milvus.upsert(spec(), movies, vectors.values)
        await CollectionLoader(milvus, "flat", hnsw_from=1).ensure_loaded(spec().name)
        yield milvus


@pytest.fixture
async def index(store: SearchSettings | None) -> AsyncIterator[VectorIndex]:
    """A VectorIndex without indexes."""
    async with AsyncExitStack() as stack:
        if store is None:
            yield ExactIndex()
        else:
            await wipe(store.milvus_uri)
            yield await stack.enter_async_context(open_index(store, Telemetry("test")))


@pytest.fixture
async def empty_server(milvus_uri: str) -> str:
    """A Milvus server without indexes."""
    await wipe(milvus_uri)
    return milvus_uri


@pytest.fixture
async def opened(empty_server: str) -> AsyncIterator[Opened]:
    """Open search services on one Milvus server; the settings are arguments."""
    async with AsyncExitStack() as stack:

        async def open_one(**settings: object) -> VectorIndex:
            chosen = SearchSettings(milvus_uri=empty_server, **{"engine": "resident"} | settings)
            return await stack.enter_async_context(open_index(chosen, Telemetry("test")))

        yield open_one


async def build(index: VectorIndex, size: int = 200, name: str = "movies") -> IndexSpec:
    """Create an index and fill it with the catalogue."""
    made = spec(name)
    await index.create(made)
    movies, vectors = catalogue(size)
    half = size // 2
    await index.upsert(made, movies[:half], Vectors(vectors.values[:half], MODEL))
    await index.upsert(made, movies[half:], Vectors(vectors.values[half:], MODEL))
    return made


async def put_in_memory(index: VectorIndex, made: IndexSpec) -> None:
    """Activate an index, so that a replica answers if the implementation has one."""
    if isinstance(index, ResidentIndex):
        await index.activate(made, None)
        assert (await index.describe(made)).engine == "resident exact"


def one_vector(values: list[float], model_version: str = MODEL) -> Vectors:
    """One vector that starts with these values."""
    row = np.zeros((1, DIMENSION), np.float32)
    row[0, : len(values)] = values
    return Vectors(row, model_version)


async def activate(index: VectorIndex, made: IndexSpec, size: int) -> list[IndexedMovie]:
    """Build an index and make it the active one."""
    await index.create(made)
    movies, vectors = catalogue(size)
    await index.upsert(made, movies, replace(vectors, model_version=made.model_version))
    await index.activate(made, size)
    return movies


async def seconds_until(holds: Callable[[], Awaitable[bool]]) -> float:
    """Wait until a condition holds; return how long that took."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < 30
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def ready(index: VectorIndex) -> bool:
    """Return whether searches of the active index can be answered."""
    try:
        await index.check_active()
    except NotReadyError:
        return False
    return True


async def found(index: VectorIndex, made: IndexSpec | None = None) -> set[IndexedMovie]:
    """Return all movies of an index, by a search."""
    made = made or spec()
    (hits,) = await index.search(made, unit_vectors(1, 1, made.model_version), [Query(1000)])
    return {hit.movie for hit in hits}


async def engine(index: VectorIndex, made: IndexSpec | None = None) -> str:
    """Return the engine that answers searches of an index."""
    return (await index.describe(made or spec())).engine


async def engine_is(index: VectorIndex, expected: str) -> bool:
    return await engine(index) == expected


async def is_resident(index: VectorIndex, made: IndexSpec) -> bool:
    return await ready(index) and await engine(index, made) == RESIDENT
