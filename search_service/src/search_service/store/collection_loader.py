"""Makes collections searchable: builds the index type that suits their size, and loads them."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from search_service.store.index_types import IndexType, IndexTypeChoice
from search_service.store.milvus_client import Milvus
from search_service.store.milvus_errors import NotLoadedError


class CollectionLoader:
    """Builds vector indexes in one Milvus, and knows which collections are loaded."""

    def __init__(self, milvus: Milvus, index_type: IndexTypeChoice, hnsw_from: int) -> None:
        """Load nothing yet.

        Args:
            milvus: The client to use.
            index_type: Index type to build.
            hnsw_from: Number of movies from which `auto` means HNSW.
        """
        self._milvus = milvus
        self._index_type = index_type
        self._hnsw_from = hnsw_from
        self._loaded: dict[str, IndexType] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def inspect(self, name: str) -> tuple[IndexType | None, int]:
        """Return the index type and the number of movies of a collection without loading it.

        Loading takes memory, and slows the writes of a build down. The number is that of the rows
        on disk if the collection is not loaded.
        """
        index_type = await self._milvus.index_type(name)
        if await self._milvus.is_loaded(name):
            return index_type, await self._milvus.count(name)
        return index_type, await self._milvus.row_count(name)

    async def count_if_loaded(self, name: str) -> int | None:
        """Return the number of movies, all earlier writes included, if a collection is loaded.

        One that this process has not loaded is still being built, so it is not read here yet.
        """
        if name not in self._loaded:
            return None
        try:
            return await self._milvus.count(name)
        except NotLoadedError:  # what was loaded had the same name and is deleted
            self.forget(name)
            return None

    async def ensure_loaded(self, name: str) -> IndexType:
        """Load a collection, building an index first if it has none; return the index type.

        `auto` builds FLAT here, because the number of movies is not known before `reindex`.
        """
        index_type = self._loaded.get(name)
        if index_type is not None:
            return index_type
        async with self._locks[name]:
            if name not in self._loaded:
                index_type = await self._milvus.index_type(name)
                if index_type is None:
                    index_type = self._type_for(movies=0)
                    await self._milvus.build_index(name, index_type, replace=False)
                await self._milvus.load(name)
                # The first read must see what was written before the collection was loaded.
                await self._milvus.count(name)
                self._loaded[name] = index_type
            return self._loaded[name]

    async def reindex(self, name: str, movies: int) -> IndexType:
        """Build an index of another type if the size calls for it; return the index type.

        Reads of the collection wait or fail meanwhile.

        Args:
            name: A loaded collection.
            movies: Number of movies that it holds.
        """
        index_type = self._type_for(movies)
        async with self._locks[name]:
            if self._loaded.get(name) != index_type:
                self._loaded.pop(name, None)
                await self._milvus.build_index(name, index_type, replace=True)
                await self._milvus.load(name)
                self._loaded[name] = index_type
        return index_type

    def forget(self, name: str) -> None:
        """Load a collection anew at its next use: it was deleted, or Milvus lost it."""
        self._loaded.pop(name, None)

    def _type_for(self, movies: int) -> IndexType:
        match self._index_type:
            case "flat":
                return "FLAT"
            case "hnsw":
                return "HNSW"
            case "auto":
                return "HNSW" if movies >= self._hnsw_from else "FLAT"
