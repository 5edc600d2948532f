"""Reads of movies with their vectors, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from search_service.index.vector_index import IndexSpec
from search_service.store.collection_schema import StoredMovie
from search_service.store.milvus_client import Milvus

_PAGE_FLOATS = 1 << 15
"""Vector components in a page of movies: unpacking them takes pymilvus about 3 ms."""


async def stored_pages(
    milvus: Milvus, index: IndexSpec, movie_ids: Sequence[int]
) -> AsyncIterator[list[StoredMovie]]:
    """Yield the movies with these ids in a loaded index; others have their turn in between."""
    step = max(1, _PAGE_FLOATS // index.dimension)
    for start in range(0, len(movie_ids), step):
        stored = await milvus.stored_movies(index, movie_ids[start : start + step])
        await asyncio.sleep(0)  # unpacking them blocked the loop, and so will their use
        yield stored
