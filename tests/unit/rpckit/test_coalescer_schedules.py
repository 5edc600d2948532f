"""Any schedule of submits, ends and cancellations keeps the promises of the coalescer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.rpckit.coalescer_bench import FAR, MAX_BATCH_BYTES, BadJobError, Bench, Job, settle

from rpckit.coalescer import Coalesced
from rpckit.errors import DeadlineError, OverloadedError


@dataclass(frozen=True)
class Submit:
    weight: int
    size: int
    patience: float
    bad: bool


@dataclass(frozen=True)
class Finish:
    which: int
    fails: bool


@dataclass(frozen=True)
class Cancel:
    back: int


@dataclass(frozen=True)
class Pass:
    seconds: float


STEP = (
    st.builds(
        Submit,
        weight=st.integers(1, 6),
        size=st.sampled_from([0, MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES + 1]),
        patience=st.sampled_from([0.0, 1.0, 3.0, FAR]),
        bad=st.booleans(),
    )
    | st.builds(Finish, st.integers(0, 9), st.booleans())
    | st.builds(Cancel, st.integers(0, 5))
    | st.builds(Pass, st.floats(0, 2))
)


@dataclass
class History:
    tasks: list[asyncio.Task[Coalesced[int]]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)


@settings(max_examples=300)
@given(
    max_batch=st.integers(1, 5),
    max_in_flight=st.integers(1, 3),
    max_queue=st.integers(0, 12),
    iterations=st.lists(st.lists(STEP, max_size=8), max_size=12),
)
@example(  # the second job waits, because the starting batch has no bytes left for it
    max_batch=3,
    max_in_flight=1,
    max_queue=0,
    iterations=[[Submit(1, 0, 1.0, False), Submit(1, 101, 1.0, False), Submit(6, 0, 1.0, False)]],
)
def test_any_schedule_keeps_the_promises(
    max_batch: int,
    max_in_flight: int,
    max_queue: int,
    iterations: list[list[Submit | Finish | Cancel | Pass]],
) -> None:
    async def scenario() -> None:
        bench = Bench(max_batch=max_batch, max_in_flight=max_in_flight, max_queue=max_queue)
        history = History()
        for iteration in iterations:
            for step in iteration:  # all within one iteration of the loop
                _take_step(bench, history, step)
            await settle()
            assert len(bench.gates) <= max_in_flight
            assert bench.queued() <= max_queue + 6, "exceeded by more than one item"
            assert bench.queued() == 0 or bench.in_flight() == max_in_flight, "an idle slot"
        await bench.finish_all()
        _check_conservation(bench, history, max_batch)

    asyncio.run(scenario())


def _take_step(bench: Bench, history: History, step: Submit | Finish | Cancel | Pass) -> None:
    match step:
        case Submit(weight, size, patience, bad):
            job = Job(len(history.jobs), weight, size, bad)
            history.jobs.append(job)
            history.tasks.append(bench.submit(job, bench.now + patience))
        case Finish(which, fails) if bench.gates:
            batch = sorted(bench.gates)[which % len(bench.gates)]
            gate = bench.gates[batch]
            if not gate.done():
                gate.set_exception(OSError("lost")) if fails else gate.set_result(None)
        case Cancel(back) if history.tasks:
            history.tasks[-1 - back % len(history.tasks)].cancel()
        case Pass(seconds):
            bench.now += seconds
        case _:
            pass


def _check_conservation(bench: Bench, history: History, max_batch: int) -> None:
    assert bench.queued() == 0
    assert bench.in_flight() == 0
    started = [job for batch in bench.started for job in batch]
    assert [job.number for job in started] == sorted({job.number for job in started}), "order"
    for batch in bench.started:
        assert len(batch) == 1 or sum(job.weight for job in batch) <= max_batch
        assert len(batch) == 1 or sum(job.size for job in batch) <= MAX_BATCH_BYTES
    worked = set(started)
    for job, task in zip(history.jobs, history.tasks, strict=True):
        assert task.done(), "an item without an answer"
        if task.cancelled():
            continue
        match task.exception():
            case None:
                assert task.result().result == job.number * 10
                assert job in worked
                assert not job.bad
            case BadJobError() as error:
                assert job.bad
                assert error.args == (job.number,)
            case OSError():
                assert job in worked
            case DeadlineError() | OverloadedError():
                assert job not in worked
            case other:
                pytest.fail(f"unexpected {other!r}")
