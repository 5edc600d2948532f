"""Reads of any number of movies, after each part of which others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from search_service.index.vector_index import IndexSpec

IDS_AT_ONCE = 4096
"""Ids in a part: their vectors are 4 MiB of 256 dimensions."""

Value = TypeVar("Value")


async def read_in_parts(
    read: Callable[[IndexSpec, Sequence[int]], Awaitable[dict[int, Value]]],
    index: IndexSpec,
    movie_ids: Sequence[int],
) -> dict[int, Value]:
    """Return what `read` finds by these ids.

    Args:
        read: Method of a VectorIndex, such as `get` or `vectors`.
        index: A spec that `resolve` returned.
        movie_ids: The ids, each once.
    """
    found: dict[int, Value] = {}
    for start in range(0, len(movie_ids), IDS_AT_ONCE):
        found |= await read(index, movie_ids[start : start + IDS_AT_ONCE])
        if len(movie_ids) > IDS_AT_ONCE:
            await asyncio.sleep(0)
    return found
