"""Makes collections searchable: indexed in the way that suits their size, and loaded, once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Literal

from search_service.store.milvus_client import Kind, Milvus

IndexType = Literal["auto", "flat", "hnsw"]
"""How indexes are searched: exactly, by a graph, or by what their size calls for."""


class Opener:
    """Knows which indexes of one Milvus can be searched."""

    def __init__(self, milvus: Milvus, index_type: IndexType, hnsw_from: int) -> None:
        """Open nothing yet.

        Args:
            milvus: Connection to it.
            index_type: How indexes are searched.
            hnsw_from: Movies from which `auto` means HNSW.
        """
        self._milvus = milvus
        self._index_type = index_type
        self._hnsw_from = hnsw_from
        self._kinds: dict[str, Kind] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def is_open(self, name: str) -> bool:
        """Tell whether an index has been opened here."""
        return name in self._kinds

    async def open(self, name: str) -> Kind:
        """Return how an index is searched, after having made it searchable the first time.

        Where the size decides that is FLAT, until `reopen` knows the size.
        """
        kind = self._kinds.get(name)
        if kind is not None:
            return kind
        async with self._locks[name]:
            if name not in self._kinds:
                kind = await self._milvus.kind(name)
                if kind is None:
                    kind = self._suitable(movies=0)
                    await self._milvus.index(name, kind, replace=False)
                await self._milvus.load(name)
                # What was written while it was closed must be seen from the first read on.
                await self._milvus.count(name)
                self._kinds[name] = kind
            return self._kinds[name]

    async def reopen(self, name: str, movies: int) -> Kind:
        """Index an open index anew if its size calls for another kind; it cannot be read meanwhile.

        Args:
            name: Its name.
            movies: How many movies it holds.
        """
        kind = self._suitable(movies)
        if self._kinds[name] != kind:
            async with self._locks[name]:
                del self._kinds[name]
                await self._milvus.index(name, kind, replace=True)
                await self._milvus.load(name)
                self._kinds[name] = kind
        return kind

    def forget(self, name: str) -> None:
        """Open an index anew when it is next used: it was deleted, or Milvus lost it."""
        self._kinds.pop(name, None)

    def _suitable(self, movies: int) -> Kind:
        match self._index_type:
            case "flat":
                return "FLAT"
            case "hnsw":
                return "HNSW"
            case "auto":
                return "HNSW" if movies >= self._hnsw_from else "FLAT"
