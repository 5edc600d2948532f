"""Composition of the vector index and of users' interactions from the settings."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from rpckit.observing.telemetry import Telemetry
from search_service.index.vector_index import VectorIndex
from search_service.interactions.interactions import Interactions
from search_service.resident.resident_index import ResidentIndex
from search_service.settings import SearchSettings
from search_service.store.active_index_watcher import ANSWER_TIMEOUT_SECONDS, ActiveIndexWatcher
from search_service.store.collection_loader import CollectionLoader
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus
from search_service.store.milvus_index import MilvusIndex
from search_service.store.milvus_interactions import MilvusInteractions
from search_service.store.milvus_lite import milvus_lite
from search_service.store.movie_cache import MovieCache


@dataclass(frozen=True)
class Opened:
    """What the servicers work on."""

    index: VectorIndex
    interactions: Interactions


@asynccontextmanager
async def open_index(settings: SearchSettings, telemetry: Telemetry) -> AsyncIterator[VectorIndex]:
    """Yield the vector index alone; see `open_all`."""
    async with open_all(settings, telemetry) as opened:
        yield opened.index


@asynccontextmanager
async def open_all(settings: SearchSettings, telemetry: Telemetry) -> AsyncIterator[Opened]:
    """Yield what is in the Milvus server or Milvus Lite folder that the settings name.

    A Milvus server need not be reachable.

    Raises:
        StartupError: The Milvus Lite folder or a TLS file cannot be read.
    """
    with ExitStack() as stack:
        # The product of a batch is too small to share among threads, which would spin while they
        # wait for each other. More processes make use of more cores.
        stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        address, max_age = settings.milvus_server(), settings.movie_cache_max_age_s
        answer_timeout = ANSWER_TIMEOUT_SECONDS
        shared = address is not None
        if address is None:
            address = MilvusAddress(stack.enter_context(milvus_lite(Path(settings.milvus_uri))))
            max_age = math.inf  # no other process can write to the folder
            answer_timeout = math.inf  # nor can it go away, though a busy machine may slow it down
        timeout, suite = settings.milvus_timeout_s, settings.suite
        async with (
            Milvus.connect(address, timeout, suite=suite) as milvus,
            MilvusInteractions.connect(address, timeout, suite=suite) as milvus_interactions,
            AsyncExitStack() as running,
        ):
            watcher = ActiveIndexWatcher(milvus, answer_timeout=answer_timeout)
            index: VectorIndex
            index = milvus_index = MilvusIndex(
                milvus,
                watcher,
                CollectionLoader(milvus, settings.index_type, settings.hnsw_from),
                MovieCache(settings.movie_cache_size, max_age),
                telemetry,
            )
            if settings.engine != "milvus":
                index = resident = ResidentIndex(
                    milvus_index,
                    watcher,
                    milvus,
                    limit=settings.resident_limit,
                    required=settings.engine == "resident",
                    shared=shared,
                    telemetry=telemetry,
                )
                await running.enter_async_context(resident.running())
            interactions = Interactions(
                milvus_interactions,
                watcher,
                limit=settings.seen_limit,
                most_per_user=settings.most_interactions_per_user,
                shared=shared,
            )
            await running.enter_async_context(interactions.running())
            await running.enter_async_context(watcher.running())
            yield Opened(index, interactions)
