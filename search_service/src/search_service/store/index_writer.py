"""Writes to the indexes of one Milvus: one at a time on each index, and each one to its end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rpckit.finishing import finish
from search_service.store.editions import announcing_write
from search_service.store.milvus_client import Milvus

Result = TypeVar("Result")


class IndexWriter:
    """Serializes the writes of this process, and knows what has not been flushed since."""

    def __init__(self, milvus: Milvus) -> None:
        """Start without knowledge of what is not flushed."""
        self._milvus = milvus
        self._unflushed: set[str] = set()  # names of indexes written to since their last flush
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, index: str) -> asyncio.Lock:
        """Return the lock that whoever writes to an index holds: Milvus Lite fails otherwise."""
        return self._locks[index]

    async def write(self, index: str, write: Callable[[], Awaitable[Result]]) -> Result:
        """Write movies of an index, whose lock the caller holds, so that all processes notice.

        The write runs to its end even if the caller is cancelled, so that the lock is not released
        before.
        """

        async def announced() -> Result:
            async with announcing_write(self._milvus, index):
                self._unflushed.add(index)
                return await write()

        return await finish(announced())

    async def flush(self, index: str) -> None:
        """Flush an index, whose lock the caller holds, if anything was written since."""
        if index in self._unflushed:
            await self._milvus.flush(index)
            self._unflushed.discard(index)

    async def drop(self, index: str) -> None:
        """Delete an index, whose lock the caller holds."""
        await finish(self._milvus.drop(index))
        self._unflushed.discard(index)
