"""Editions: how the processes on one Milvus learn that an index may have changed.

An edition is a random property of a collection. A writer sets a new one before it writes, and
another before it returns. So if two reads of the edition are equal, no write returned in between;
and a reader that checks the whole index whenever the edition is new, beginning with a read that
waits for all earlier writes, has seen every write that had returned when it read the edition.

A writer may die before its second edition, and a tool that restores a backup sets none. So a reader
checks again, at intervals that double: what takes effect t seconds after it noticed an edition, it
sees within 2 t + 1 seconds, or `MAX_INTERVAL_SECONDS` later at most, if it polls often enough. No
clocks of two machines are compared.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rpckit.errors import ServiceError
from search_service.store.milvus_client import Milvus

MIN_INTERVAL_SECONDS = 0.4
"""Shortest time between two checks of an index whose edition is not new."""
MAX_INTERVAL_SECONDS = 60.0
"""Longest time between two checks of an index that nobody seems to write to."""


@asynccontextmanager
async def announcing_write(milvus: Milvus, index: str) -> AsyncIterator[None]:
    """Set an edition of an index before the write in this block, and another one after it.

    Raises:
        StoreUnavailableError: An edition could not be set. If the block has run, the write may have
            taken effect.
    """
    await milvus.renew_edition(index)
    try:
        yield
    except BaseException:
        # The write may have taken effect all the same. A second error must not hide the first.
        with suppress(ServiceError):
            await milvus.renew_edition(index)
        raise
    await milvus.renew_edition(index)


class CheckSchedule:
    """When a reader has to check an index for changes. Times are of its monotonic clock."""

    def __init__(self) -> None:
        """Begin with a check that is due."""
        self._edition: str | None = None
        self._changed_at = -math.inf  # when the edition was new, in seconds
        self._checked_at = -math.inf

    def is_due(self, edition: str, now: float) -> bool:
        """Return whether to check an index that has this edition now.

        A check is due if the edition is new, or if as much time has passed since the last check as
        lay between the new edition and that check, within the bounds above.
        """
        if edition != self._edition:
            return True
        quiet = self._checked_at - self._changed_at
        interval = min(max(quiet, MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS)
        return now - self._checked_at >= interval

    def checked(self, edition: str, began_at: float) -> None:
        """Note a check that is complete.

        Args:
            edition: Edition that was read before the check.
            began_at: Time before that read, in seconds.
        """
        if edition != self._edition:
            self._edition, self._changed_at = edition, began_at
        self._checked_at = began_at
