"""Run client processes together and merge their histograms."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Self

from loadtest import resources
from loadtest.histogram import Latencies
from loadtest.job import Job, Outcome, Requests
from loadtest.load import ClosedLoop, OpenLoop
from loadtest.measurement import Measurement, MethodResult
from loadtest.tally import MethodTally
from loadtest.wire import driver as wire

_READY_SECONDS = 60.0
"""Longest time for clients to connect."""
_GRACE_SECONDS = 30.0
_LEAD_SECONDS = 0.05
"""Time between the moment when all are ready and the first call."""


class LoadError(Exception):
    """A load could not be run; the message is one line."""


class LoadClient(StrEnum):
    """Client that makes the load."""

    WIRE = "wire"
    """The client of this package: any load of any mix."""
    H2LOAD = "h2load"
    """h2load of nghttp2: closed loop of one method."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the client of a name.

        Raises:
            LoadError: There is no such client.
        """
        try:
            return cls(name)
        except ValueError:
            raise LoadError(f"no client {name!r}; there are {', '.join(cls)}") from None


def measure(
    job: Job, *, name: str, processes: int = 1, servers: Mapping[str, int] | None = None
) -> Measurement:
    """Run a load and return its measurement.

    Processes are spawned, not forked, because gRPC does not survive a fork.

    Args:
        job: The whole load; every process gets its share.
        name: Name of the measurement.
        processes: Number of client processes.
        servers: Processes on this machine whose CPU is to be measured, by name.

    Raises:
        LoadError: A server cannot be reached, or a client failed.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    pipes, children = [], []
    for part in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        share = replace(job, load=job.load.share(part, processes), seed=job.seed + part)
        child = context.Process(target=_client, args=(share, barrier, theirs), daemon=True)
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    try:
        usage = _watch(job, barrier, pipes, servers or {})
        limit = time.monotonic() + job.timeout + _GRACE_SECONDS
        outcomes = [_receive(pipe, limit) for pipe in pipes]
    finally:
        barrier.abort()
        for child in children:
            child.join(1.0)
            if child.is_alive():
                child.kill()
                child.join()
    return _merge(job, name, outcomes, usage)


def _watch(
    job: Job, barrier: Barrier, pipes: Sequence[Pipe], servers: Mapping[str, int]
) -> dict[str, float]:
    """Wait until the measured time is over; return the CPU seconds of each server in it."""
    try:
        barrier.wait(_READY_SECONDS)
    except BrokenBarrierError:
        for pipe in pipes:
            if pipe.poll(1.0):
                _receive(pipe, time.monotonic())  # raises its error
        raise LoadError("the clients were not ready in time") from None
    time.sleep(_LEAD_SECONDS + job.warm_up)
    before = {name: resources.cpu_seconds([pid]) for name, pid in servers.items()}
    time.sleep(job.duration)
    return {name: resources.cpu_seconds([pid]) - before[name] for name, pid in servers.items()}


def _client(job: Job, barrier: Barrier, pipe: Pipe) -> None:
    """Run in one client process."""

    def start() -> float:
        barrier.wait(_READY_SECONDS)
        return time.perf_counter() + _LEAD_SECONDS

    try:
        pipe.send(wire.drive(job, Requests.of(job), start))
    except BrokenBarrierError:  # another client failed and reports its error
        return
    except Exception as error:
        barrier.abort()
        pipe.send(f"{type(error).__name__}: {error}")


def _receive(pipe: Pipe, limit: float) -> Outcome:
    try:
        if not pipe.poll(max(0.0, limit - time.monotonic())):
            raise LoadError("a client did not end in time")
        answer: Outcome | str = pipe.recv()
    except EOFError:
        raise LoadError("a client process ended without an answer") from None
    if isinstance(answer, str):
        raise LoadError(answer)
    return answer


def _merge(
    job: Job, name: str, outcomes: Sequence[Outcome], usage: Mapping[str, float]
) -> Measurement:
    tallies = {method: MethodTally() for method in job.workload.mix}
    lag = Latencies()
    for outcome in outcomes:
        lag.merge(outcome.lag)
        for method, tally in outcome.methods.items():
            tallies[method].merge(tally)
    return Measurement(
        name=name,
        load=str(job.load),
        client=LoadClient.WIRE,
        duration_s=job.duration,
        offered_per_s=job.load.rate if isinstance(job.load, OpenLoop) else None,
        concurrency=job.load.concurrency if isinstance(job.load, ClosedLoop) else None,
        methods={method: MethodResult.of(tally) for method, tally in tallies.items()},
        lag_p99_ms=round(lag.percentile(99) * 1000, 4),
        client_cpu_s=sum(outcome.cpu_seconds for outcome in outcomes),
        cpu_s=usage,
    )
