"""Batching without a window to tune: batches grow with the load.

A batch starts as soon as a slot is free and the event loop brings no more items. Items that arrive
while all slots are busy share the next batch. So a lone caller pays about ten microseconds for
batching, and batches grow only as the work or the event loop falls behind. (Triton and TEI call
this dynamic or continuous batching.) The wait follows from what an iteration of the loop costs.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from rpckit.errors import DeadlineError, OverloadedError, ShuttingDownError

Item = TypeVar("Item")
Result = TypeVar("Result")

LINGER_ITERATIONS = 8
"""Iterations of the event loop in a row without a new item, after which a batch starts.

An empty iteration takes 1.4 µs, so a lone caller waits about ten. In a busy process an iteration
lasts as long as its work, mostly other calls: grpc.aio delivers them one by one, each over several
iterations, so without this wait each would be a batch of its own. (EmbedUsers, 64 callers on two
cores: batches of 35, and 43 % more calls a second. Three iterations gain nothing, six all of it.)
"""
MAX_LINGER_SECONDS = 0.01
"""Longest wait of a free slot for more items, however busy the loop is."""

DropReason = Literal["overloaded", "expired", "cancelled"]


class Coalesced(NamedTuple, Generic[Result]):
    """An item's result and its time in the queue."""

    result: Result
    queue_seconds: float
    """From `submit` to the start of the work, in seconds."""


class Observer:
    """Receives the events of a coalescer, on the loop's thread; its overrides must be fast."""

    def watch(self, queued: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Receive two gauges, once: functions to call at each scrape."""

    def batch_started(self, weight: int, queue_seconds: Sequence[float]) -> None:
        """Receive the weight of a batch that starts, and the wait of each of its items."""

    def batch_finished(self, seconds: float) -> None:
        """Receive the duration of a batch that ended, whether or not it failed."""

    def dropped(self, reason: DropReason) -> None:
        """Receive the reason why an item was dropped before any work."""


class Coalescer(Generic[Item, Result]):
    """Groups single items into batches for `work`, in the order of their arrival.

    It belongs to the event loop on which `submit` is called and is not thread-safe.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        name: str,
        max_batch: int,
        max_in_flight: int,
        max_queue: float = math.inf,
        weigh: Callable[[Item], int] = lambda _: 1,
        max_batch_bytes: int = 0,
        measure: Callable[[Item], int] = lambda _: 0,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a coalescer; nothing runs before the first `submit`.

        Args:
            work: Returns one result for each item of a batch, in order. An exception as a result
                fails its item alone; a raised exception fails the whole batch. Cancelled once
                all callers of the batch have left.
            name: Name for messages.
            max_batch: Largest weight of a batch; a heavier item gets a batch of its own.
            max_in_flight: Largest number of batches in progress at the same time.
            max_queue: Largest weight of the queue; the item that crosses it is admitted.
            weigh: Returns an item's weight, such as its rows; less than 1 counts as 1.
            max_batch_bytes: Largest size of a batch; a larger item gets a batch of its own.
            measure: Returns an item's size in bytes, such as its share of a message.
            observer: Receives batches and drops.
            clock: Clock of the deadlines. The default is the clock of every asyncio loop;
                uvloop's own `loop.time()` has a resolution of milliseconds.
        """
        if max_batch < 1 or max_in_flight < 1 or max_queue < 0:
            raise ValueError(f"{name}: max_batch and max_in_flight must be positive")
        self._work = work
        self._name = name
        self.max_batch = max_batch
        """Largest weight of a batch; whoever learns that it is too large may lower it."""
        self._max_in_flight = max_in_flight
        self._max_queue = max_queue
        self._weigh = weigh
        self._max_batch_bytes = max_batch_bytes
        self._measure = measure
        self._observer = observer or Observer()
        self._clock = clock
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._queued = 0
        self._starting = 0  # slots whose task has not taken its batch yet
        self._tasks: set[asyncio.Task[None]] = set()  # one for each slot in use
        self._batch_seconds = 0.0
        self._closed = False
        self._observer.watch(lambda: self._queued, lambda: len(self._tasks))

    async def submit(self, item: Item, *, deadline: float) -> Coalesced[Result]:
        """Return the item's result. Cancelling the caller drops the item.

        Args:
            item: Passed to `work` unchanged.
            deadline: Time after which no work starts for the item, on `clock`, in seconds.

        Raises:
            DeadlineError: The deadline passed before the work began.
            OverloadedError: The queue is full; carries the time until a retry.
            ShuttingDownError: `close` has been called.
            Exception: `work` returned it for this item, or raised it for the batch.
        """
        now = self._clock()
        self._admit(now, deadline)
        answer: asyncio.Future[Coalesced[Result]] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, max(1, self._weigh(item)), self._measure(item), deadline, now, answer)
        self._queue.append(entry)
        self._queued += entry.weight
        self._start_batch_if_slot_free()
        try:
            return await answer
        except asyncio.CancelledError:
            self._abandon(entry)
            raise

    async def close(self) -> None:
        """Refuse new items, and return once all admitted items have their results."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _admit(self, now: float, deadline: float) -> None:
        if self._closed:
            raise ShuttingDownError(f"{self._name} is shutting down")
        if deadline <= now:
            self._observer.dropped("expired")
            raise DeadlineError(f"{self._name}: the deadline passed before the work began")
        if len(self._tasks) == self._max_in_flight and self._queue_is_full():
            self._observer.dropped("overloaded")
            batches_ahead = self._queued / self.max_batch / self._max_in_flight + 1
            retry_after = max(0.01, batches_ahead * self._batch_seconds)
            raise OverloadedError(f"{self._name}: the queue is full", retry_after=retry_after)

    def _queue_is_full(self) -> bool:
        """Tell whether `max_queue` waits beside what the starting batches take or have room for."""
        if self._queued < self._max_queue or not self._starting:
            return self._queued >= self._max_queue
        waiting, batches, room, bytes_left = self._queued, 0, 0, 0
        for entry in self._queue:
            if entry.weight > room or entry.size > bytes_left:
                if batches == self._starting:
                    return waiting >= self._max_queue
                batches, room, bytes_left = batches + 1, self.max_batch, self._max_batch_bytes
            room -= entry.weight
            bytes_left -= entry.size
            waiting -= entry.weight
        return batches == self._starting and room <= 0 and self._max_queue == 0

    def _start_batch_if_slot_free(self) -> None:
        has_more = self._queued > self._starting * self.max_batch
        if has_more and len(self._tasks) < self._max_in_flight:
            self._starting += 1
            self._tasks.add(asyncio.create_task(self._run_batch(), name=self._name))

    async def _run_batch(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is a coroutine
        try:
            await self._linger()
        except asyncio.CancelledError:  # the loop is closing
            self._starting -= 1
            self._tasks.discard(task)
            raise
        started = self._clock()
        entries = self._take_batch(started)
        self._starting -= 1
        self._start_batch_if_slot_free()
        try:
            if entries:
                await self._answer(_Batch(task, len(entries)), entries, started)
        finally:
            self._tasks.discard(task)
            self._start_batch_if_slot_free()

    async def _linger(self) -> None:
        end = self._clock() + MAX_LINGER_SECONDS
        idle = 0
        while idle < LINGER_ITERATIONS and self._queued < self.max_batch and self._clock() < end:
            queued = self._queued
            await asyncio.sleep(0)
            idle = 0 if self._queued > queued else idle + 1

    def _take_batch(self, now: float) -> list[_Entry[Item, Result]]:
        entries: list[_Entry[Item, Result]] = []
        room, bytes_left = self.max_batch, self._max_batch_bytes
        while self._queue:
            entry = self._queue[0]
            wanted = not entry.answer.done()
            if wanted and entry.deadline > now:
                if entries and (entry.weight > room or entry.size > bytes_left):
                    break
                room -= entry.weight
                bytes_left -= entry.size
                entries.append(entry)
            elif wanted:
                waited = f"the deadline passed after {now - entry.queued_at:.3f} s queued"
                entry.answer.set_exception(DeadlineError(f"{self._name}: {waited}"))
                self._observer.dropped("expired")
            else:
                self._observer.dropped("cancelled")
            self._queue.popleft()
            self._queued -= entry.weight
            entry.queued = False
        return entries

    async def _answer(
        self, batch: _Batch, entries: Sequence[_Entry[Item, Result]], started: float
    ) -> None:
        for entry in entries:
            entry.batch = batch
        waits = [started - entry.queued_at for entry in entries]
        self._observer.batch_started(sum(entry.weight for entry in entries), waits)
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._work([entry.item for entry in entries])
            if len(outcomes) != len(entries):
                counts = f"{len(outcomes)} results for {len(entries)} items"
                raise RuntimeError(f"{self._name}: {counts}; a bug")
        except Exception as error:
            outcomes = [error] * len(entries)
        except asyncio.CancelledError:
            for entry in entries:
                entry.answer.cancel()
            raise
        finally:
            seconds = self._clock() - started
            self._batch_seconds += 0.2 * (seconds - self._batch_seconds)
            self._observer.batch_finished(seconds)
        for entry, outcome, wait in zip(entries, outcomes, waits, strict=True):
            if entry.answer.done():
                continue
            if isinstance(outcome, Exception):
                entry.answer.set_exception(outcome)
            else:
                entry.answer.set_result(Coalesced(outcome, wait))

    def _abandon(self, entry: _Entry[Item, Result]) -> None:
        if entry.queued:
            self._queue.remove(entry)
            self._queued -= entry.weight
            self._observer.dropped("cancelled")
        elif entry.batch is not None:
            entry.batch.abandon()


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch in progress, and the number of callers that still wait for it."""

    task: asyncio.Task[None]
    waiting: int

    def abandon(self) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.task.cancel()


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    """An item: queued, then part of a batch, then answered."""

    item: Item
    weight: int
    size: int
    deadline: float
    queued_at: float
    answer: asyncio.Future[Coalesced[Result]]
    queued: bool = True
    batch: _Batch | None = None
