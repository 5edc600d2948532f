"""Drives a job through grpc.aio on uvloop: what a Python caller sees, at a Python caller's cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import uvloop

from loadtest.job import Job, Outcome, Recorder, Requests
from loadtest.pacing import Closed, Open
from loadtest.workload import METHODS
from rpckit.calling.channel import connect

_Calls = Mapping[str, Callable[[bytes], Awaitable[int]]]
_UNAVAILABLE = 14
_RECONNECT_SECONDS = 0.05


def drive(job: Job, requests: Requests, start: Callable[[], float]) -> Outcome:
    """Run a job; see `loadtest.wire.driver.drive`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_drive(job, requests, start))


async def _drive(job: Job, requests: Requests, start: Callable[[], float]) -> Outcome:
    async with _calls(job) as calls:
        recorder = Recorder(job, start())
        before = time.process_time()
        if isinstance(job.pacing, Open):
            await _open(job.pacing, job, requests, calls, recorder)
        else:
            await _closed(job.pacing, requests, calls, recorder)
        return recorder.outcome(time.process_time() - before)


@asynccontextmanager
async def _calls(job: Job) -> AsyncIterator[_Calls]:
    async with AsyncExitStack() as stack:
        calls = {}
        for name, settings in job.endpoints.items():
            channel = await stack.enter_async_context(connect(settings))
            calls[name] = _caller(channel.grpc, METHODS[name], job.timeout)
        yield calls


def _caller(
    channel: grpc.aio.Channel, path: str, timeout: float
) -> Callable[[bytes], Awaitable[int]]:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{path}")

    async def call(message: bytes) -> int:
        try:
            await method(message, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return int(error.code().value[0])
        return 0

    return call


async def _closed(pacing: Closed, requests: Requests, calls: _Calls, recorder: Recorder) -> None:
    async def caller() -> None:
        while time.perf_counter() < recorder.last:
            method, message = requests.next()
            sent = time.perf_counter()
            status = await calls[method](message)
            recorder.closed(method, status, sent, time.perf_counter())
            if status == _UNAVAILABLE:  # a server that is away must not be asked without end
                await asyncio.sleep(_RECONNECT_SECONDS)

    await asyncio.gather(*(caller() for _ in range(pacing.concurrency)))


async def _open(
    pacing: Open, job: Job, requests: Requests, calls: _Calls, recorder: Recorder
) -> None:
    async def one(method: str, message: bytes, due: float) -> None:
        status = await calls[method](message)
        recorder.opened(method, status, due, time.perf_counter())

    begin = recorder.first - job.warm_up
    async with asyncio.TaskGroup() as tasks:
        for offset in pacing.times(job.seed):
            due = begin + offset
            if due >= recorder.last:
                break
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            recorder.late(due, time.perf_counter())
            tasks.create_task(one(*requests.next(), due))
