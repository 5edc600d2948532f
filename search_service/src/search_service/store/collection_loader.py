"""Makes collections searchable: indexed in the way that suits their size, and loaded, once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Literal

from search_service.store.milvus_client import IndexType, Milvus

IndexTypeChoice = Literal["auto", "flat", "hnsw"]
"""How indexes are searched: exactly, by a graph, or by what their size calls for."""


class CollectionLoader:
    """Knows which indexes of one Milvus can be searched."""

    def __init__(self, milvus: Milvus, choice: IndexTypeChoice, hnsw_from: int) -> None:
        """Open nothing yet.

        Args:
            milvus: Connection to it.
            choice: How indexes are searched.
            hnsw_from: Movies from which `auto` means HNSW.
        """
        self._milvus = milvus
        self._choice = choice
        self._hnsw_from = hnsw_from
        self._index_types: dict[str, IndexType] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def is_loaded(self, name: str) -> bool:
        """Tell whether an index has been opened here."""
        return name in self._index_types

    async def ensure_loaded(self, name: str) -> IndexType:
        """Return how an index is searched, after having made it searchable the first time.

        Where the size decides that is FLAT, until `reopen` knows the size.
        """
        index_type = self._index_types.get(name)
        if index_type is not None:
            return index_type
        async with self._locks[name]:
            if name not in self._index_types:
                index_type = await self._milvus.index_type(name)
                if index_type is None:
                    index_type = self._suitable(movies=0)
                    await self._milvus.build_index(name, index_type, replace=False)
                await self._milvus.load(name)
                # What was written while it was closed must be seen from the first read on.
                await self._milvus.count(name)
                self._index_types[name] = index_type
            return self._index_types[name]

    async def reindex(self, name: str, movies: int) -> IndexType:
        """Build another type of index if the size calls for it; no reads are possible meanwhile.

        Args:
            name: Its name.
            movies: How many movies it holds.
        """
        index_type = self._suitable(movies)
        if self._index_types[name] != index_type:
            async with self._locks[name]:
                del self._index_types[name]
                await self._milvus.build_index(name, index_type, replace=True)
                await self._milvus.load(name)
                self._index_types[name] = index_type
        return index_type

    def forget(self, name: str) -> None:
        """Open an index anew when it is next used: it was deleted, or Milvus lost it."""
        self._index_types.pop(name, None)

    def _suitable(self, movies: int) -> IndexType:
        match self._choice:
            case "flat":
                return "FLAT"
            case "hnsw":
                return "HNSW"
            case "auto":
                return "HNSW" if movies >= self._hnsw_from else "FLAT"
