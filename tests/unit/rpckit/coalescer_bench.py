"""A coalescer whose work and clock are in the hands of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rpckit.coalescer import LINGER_ITERATIONS, Coalesced, Coalescer, DropReason

FAR = 1e9
MAX_BATCH_BYTES = 100


@dataclass(frozen=True)
class Job:
    number: int
    weight: int = 1
    size: int = 0
    bad: bool = False


class BadJobError(Exception):
    pass


class Bench:
    """A coalescer, work that ends when the test says so, and a clock that the test moves."""

    def __init__(self, *, max_batch: int = 4, max_in_flight: int = 1, max_queue: int = 100) -> None:
        self.now = 0.0
        self.started: list[list[Job]] = []
        self.gates: dict[int, asyncio.Future[None]] = {}
        self.cancelled: list[int] = []
        self.drops: list[DropReason] = []
        self.waits: list[float] = []
        self.weights: list[int] = []
        self.finished: list[float] = []
        self.coalescer: Coalescer[Job, int] = Coalescer(
            self._work,
            name="bench",
            max_batch=max_batch,
            max_in_flight=max_in_flight,
            max_queue=max_queue,
            weigh=lambda job: job.weight,
            max_batch_bytes=MAX_BATCH_BYTES,
            measure=lambda job: job.size,
            observer=self,
            clock=lambda: self.now,
        )

    def submit(self, job: Job, deadline: float = FAR) -> asyncio.Task[Coalesced[int]]:
        return asyncio.create_task(self.coalescer.submit(job, deadline=deadline))

    async def finish(self, batch: int, error: Exception | None = None) -> None:
        gate = self.gates[batch]
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)
        await settle()

    async def finish_all(self) -> None:
        while self.gates:
            await self.finish(min(self.gates))

    def numbers(self) -> list[list[int]]:
        return [[job.number for job in batch] for batch in self.started]

    async def _work(self, jobs: Sequence[Job]) -> Sequence[int | Exception]:
        batch = len(self.started)
        self.started.append(list(jobs))
        gate = self.gates[batch] = asyncio.get_running_loop().create_future()
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled.append(batch)
            raise
        finally:
            del self.gates[batch]
        return [BadJobError(job.number) if job.bad else job.number * 10 for job in jobs]

    def watch(self, queued: object, in_flight: object) -> None:
        assert callable(queued)
        assert callable(in_flight)
        self.queued = queued
        self.in_flight = in_flight

    def batch_started(self, weight: int, queue_seconds: Sequence[float]) -> None:
        self.weights.append(weight)
        self.waits.extend(queue_seconds)

    def batch_finished(self, seconds: float) -> None:
        self.finished.append(seconds)

    def dropped(self, reason: DropReason) -> None:
        self.drops.append(reason)


async def settle() -> None:
    """Let everything happen that can happen without new input."""
    await iterations(LINGER_ITERATIONS + 12)


async def iterations(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
