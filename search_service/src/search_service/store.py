"""Opens the store that the settings name."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from rpckit.telemetry import Telemetry
from search_service.lite import milvus_lite
from search_service.metadata import MovieCache
from search_service.milvus import Milvus
from search_service.milvus_index import MilvusIndex
from search_service.opening import Opener
from search_service.settings import SearchSettings


@asynccontextmanager
async def open_store(settings: SearchSettings, telemetry: Telemetry) -> AsyncIterator[MilvusIndex]:
    """Yield the indexes of a Milvus server, whether it is there or not, or of a Milvus Lite.

    Raises:
        StartupError: The folder of the Milvus Lite cannot be opened.
    """
    with ExitStack() as stack:
        uri, max_age = settings.milvus_uri, settings.movie_cache_max_age_s
        if "://" not in uri:
            uri = stack.enter_context(milvus_lite(Path(uri)))
            max_age = math.inf  # no other process can write to it
        token = settings.milvus_token.get_secret_value()
        async with Milvus.connect(uri, token, settings.milvus_timeout_s) as milvus:
            index = MilvusIndex(
                milvus,
                Opener(milvus, settings.index_type, settings.hnsw_from),
                MovieCache(settings.movie_cache_size, max_age),
                telemetry,
            )
            async with index.running():
                yield index
