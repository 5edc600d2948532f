"""Answers that are kept for requests that come again.

An answer is kept under the versions that it names itself, and given only while they are the current
ones; so a change of the model or of the index needs no invalidation, and cannot miss one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from cachetools import TTLCache

from gateway.versions import Versions
from rpckit.observing.metrics.recorders import CacheRecorder

ENTRY_BYTES = 700
"""What an answer takes in memory besides its own bytes and those of its request, about."""


class Key(NamedTuple):
    """What is asked: one page of one list."""

    request: bytes
    """What `canonical` gave."""
    start: int
    """Movies on the pages before."""
    end: int
    """Movies on this page and the ones before, at most."""
    continued: bytes | None
    """See Page.list_digest."""


class AnswerCache:
    """Serialized answers, of which those that were not asked for the longest time go first."""

    def __init__(
        self,
        current: Callable[[], Versions | None],
        *,
        size: int,
        ttl: float,
        recorder: CacheRecorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            current: Tells which versions would answer now. None: it is not known.
            size: Bytes of memory for answers, about.
            ttl: Seconds that an answer is kept at most.
            recorder: Counts hits and misses.
            clock: In seconds.
        """
        self._current = current
        self._recorder = recorder
        self._answers: TTLCache[tuple[Key, Versions], _Kept] = TTLCache(
            size, ttl, clock, getsizeof=lambda kept: kept.size
        )

    def get(self, key: Key) -> bytes | None:
        """Return the answer that the current versions gave, if it is kept."""
        versions = self._current()
        kept = None if versions is None else self._answers.get((key, versions))
        if kept is None:
            self._recorder.misses.add()
            return None
        self._recorder.hits.add()
        return kept.answer

    def put(self, key: Key, versions: Versions, answer: bytes) -> None:
        """Keep an answer.

        Args:
            key: What was asked.
            versions: What the answer says that it follows from; without a version of the index it
                is not kept.
            answer: Serialized, without what is true of one call only.
        """
        kept = _Kept(answer, ENTRY_BYTES + len(key.request) + len(answer))
        if versions.index_version and kept.size <= self._answers.maxsize:
            self._answers[key, versions] = kept


class _Kept(NamedTuple):
    answer: bytes
    size: int
