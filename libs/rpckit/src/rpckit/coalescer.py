"""Batches that form by themselves: no timer, no window to tune.

A free slot takes what is queued as soon as no more arrives; what arrives while every slot is busy
leaves together when one frees. So a lone caller never waits for company, and batches grow exactly
as fast as the work, or the event loop itself, falls behind. (Triton and TEI call this continuous or
natural batching.)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from rpckit.errors import DeadlineError, OverloadedError, ShuttingDownError

Item = TypeVar("Item")
Result = TypeVar("Result")

QUIET_TURNS = 8
"""Turns of the event loop in a row that bring nothing, before a batch leaves.

A turn in which nothing happens takes 1.4 µs, so a lone caller pays about ten. In a busy process a
turn takes as long as what happens in it, which is other calls on their way here: grpc.aio hands
calls over one by one, each in several turns, so that without this a free slot would take each of
them alone. (EmbedUsers, 64 callers on two cores: batches of 35 for 1.0, and 43 % more calls a
second; with 3 turns nothing is gained, with 6 as much as with 10.)
"""
LONGEST_WAIT_SECONDS = 0.01
"""What a free slot waits for company at most, however busy the loop is."""

DropReason = Literal["overloaded", "expired", "cancelled"]


class Coalesced(NamedTuple, Generic[Result]):
    """An item's result, and what it waited for it."""

    result: Result
    queue_seconds: float
    """From `submit` to the start of the work, in seconds."""


class Observer(Protocol):
    """Told what a coalescer does. Methods are called on the loop's thread and must be quick."""

    def watch(self, queued: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Take the gauges, once; they are read when somebody asks, so that they cost nothing."""

    def batch_started(self, weight: int, queue_seconds: Sequence[float]) -> None:
        """See a batch leave: its weight, and what each of its items has waited."""

    def batch_finished(self, seconds: float) -> None:
        """See a batch's work end, well or badly."""

    def dropped(self, reason: DropReason) -> None:
        """See an item leave the queue, or be kept out of it, without any work done for it."""


class _Silent:
    """The observer of a coalescer that nobody observes."""

    def watch(self, queued: Callable[[], int], in_flight: Callable[[], int]) -> None: ...
    def batch_started(self, weight: int, queue_seconds: Sequence[float]) -> None: ...
    def batch_finished(self, seconds: float) -> None: ...
    def dropped(self, reason: DropReason) -> None: ...


class Coalescer(Generic[Item, Result]):
    """Turns single items into batches for `work`, in the order of their arrival.

    It belongs to the event loop on which `submit` is called and is not thread-safe.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        name: str,
        max_batch: int,
        max_in_flight: int,
        max_queue: int,
        weigh: Callable[[Item], int] = lambda _: 1,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Coalesce for `work`; nothing runs before the first `submit`.

        Args:
            work: Answers a batch with one result per item, in order; an exception in an item's
                place fails that item alone, an exception raised fails the whole batch. It is
                cancelled when every caller that waits for its batch has gone.
            name: What messages call it.
            max_batch: Weight of a batch at most; a heavier item goes alone.
            max_in_flight: Batches that are worked on at the same time, at most.
            max_queue: Weight that may wait for a slot. Weight and not items, because the time
                that a newcomer waits and the memory that is held grow with it. The item that
                crosses the bound is admitted, so the bound is exceeded by one item at most.
            weigh: An item's weight, such as its rows; less than 1 counts as 1.
            observer: Told about batches and drops.
            clock: Clock of the deadlines. The default is that of every asyncio loop;
                `loop.time()` itself only knows milliseconds on uvloop.
        """
        if max_batch < 1 or max_in_flight < 1 or max_queue < 0:
            raise ValueError(f"{name}: max_batch and max_in_flight must be positive")
        self._work = work
        self._name = name
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._max_queue = max_queue
        self._weigh = weigh
        self._observer = observer or _Silent()
        self._clock = clock
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._queued = 0
        self._starting = 0  # slots whose task has not taken its batch yet
        self._tasks: set[asyncio.Task[None]] = set()  # one for each slot in use
        self._batch_seconds = 0.0
        self._closed = False
        self._observer.watch(lambda: self._queued, lambda: len(self._tasks))

    async def submit(self, item: Item, *, deadline: float) -> Coalesced[Result]:
        """Wait for the item's result. Cancel-safe: an item that nobody waits for is dropped.

        Args:
            item: Handed to `work` as it is.
            deadline: When the answer is no longer worth the work, in asyncio's loop time.

        Raises:
            DeadlineError: The deadline passed before the work began.
            OverloadedError: `max_queue` is waiting already; carries when to try again.
            ShuttingDownError: `close` has been called.
            Exception: What `work` returned for this item, or raised for its batch.
        """
        now = self._clock()
        self._admit(now, deadline)
        entry: _Entry[Item, Result] = _Entry(item, max(1, self._weigh(item)), deadline, now)
        self._queue.append(entry)
        self._queued += entry.weight
        self._use_free_slot()
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self._abandon(entry)
            raise

    async def close(self) -> None:
        """Refuse new items, and return when all that were admitted are answered."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _admit(self, now: float, deadline: float) -> None:
        if self._closed:
            raise ShuttingDownError(f"{self._name} is shutting down")
        if deadline <= now:
            self._observer.dropped("expired")
            raise DeadlineError(f"{self._name}: the deadline passed before the work began")
        about_to_leave = self._starting * self._max_batch
        if (
            len(self._tasks) == self._max_in_flight
            and self._queued >= self._max_queue + about_to_leave
        ):
            self._observer.dropped("overloaded")
            batches_ahead = self._queued / self._max_batch / self._max_in_flight + 1
            raise OverloadedError(
                f"{self._name}: the queue is full",
                retry_after=max(0.01, batches_ahead * self._batch_seconds),
            )

    def _use_free_slot(self) -> None:
        more = self._queued > self._starting * self._max_batch
        if more and len(self._tasks) < self._max_in_flight:
            self._starting += 1
            self._tasks.add(asyncio.create_task(self._fill_slot(), name=self._name))

    async def _fill_slot(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker: this is a coroutine
        try:
            await self._until_quiet()
        except asyncio.CancelledError:  # the loop ends, and with it whoever waits
            self._starting -= 1
            self._tasks.discard(task)
            raise
        started = self._clock()
        entries = self._take(started)
        self._starting -= 1
        self._use_free_slot()
        try:
            if entries:
                await self._answer(_Batch(task, len(entries)), entries, started)
        finally:
            self._tasks.discard(task)
            self._use_free_slot()

    async def _until_quiet(self) -> None:
        latest = self._clock() + LONGEST_WAIT_SECONDS
        quiet = 0
        while quiet < QUIET_TURNS and self._queued < self._max_batch and self._clock() < latest:
            queued = self._queued
            await asyncio.sleep(0)
            quiet = 0 if self._queued > queued else quiet + 1

    def _take(self, now: float) -> list[_Entry[Item, Result]]:
        entries: list[_Entry[Item, Result]] = []
        room = self._max_batch
        while self._queue:
            entry = self._queue[0]
            wanted = not entry.answer.done()
            if wanted and entry.deadline > now:
                if entry.weight > room and entries:
                    break
                room -= entry.weight
                entries.append(entry)
            elif wanted:
                message = (
                    f"{self._name}: the deadline passed after {now - entry.since:.3f} s queued"
                )
                entry.answer.set_exception(DeadlineError(message))
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
        waits = [started - entry.since for entry in entries]
        self._observer.batch_started(sum(entry.weight for entry in entries), waits)
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._work([entry.item for entry in entries])
            if len(outcomes) != len(entries):
                raise RuntimeError(
                    f"{self._name}: {len(outcomes)} results for {len(entries)} items; a bug"
                )
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


class _Batch:
    """A batch under way, and how many callers still wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[None], waiting: int) -> None:
        self.task = task
        self.waiting = waiting

    def abandon(self) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.task.cancel()


class _Entry(Generic[Item, Result]):
    """An item on its way: queued, then part of a batch, then answered."""

    __slots__ = ("answer", "batch", "deadline", "item", "queued", "since", "weight")

    def __init__(self, item: Item, weight: int, deadline: float, since: float) -> None:
        self.item = item
        self.weight = weight
        self.deadline = deadline
        self.since = since
        self.answer: asyncio.Future[Coalesced[Result]] = asyncio.get_running_loop().create_future()
        self.queued = True
        self.batch: _Batch | None = None
