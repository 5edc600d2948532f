"""Deadlines with one timer: they hold like asyncio's own."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import pytest
import uvloop

from rpckit.serving.deadlines import Deadlines


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    return asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None)


def test_each_call_times_out_at_its_own_deadline_in_whatever_order_they_came(
    runner: asyncio.Runner,
) -> None:
    async def late(deadlines: Deadlines, seconds: float) -> float:
        begun = time.monotonic()
        with pytest.raises(TimeoutError), deadlines.timeout_at(begun + seconds):
            await asyncio.sleep(5)
        return time.monotonic() - begun - seconds

    async def main() -> list[float]:
        deadlines = Deadlines()
        seconds = (0.06, 0.02, 0.04, 0.02, 0.0, -1.0)
        return await asyncio.gather(*(late(deadlines, each) for each in seconds))

    with runner:
        lateness = runner.run(main())
    assert all(0 <= each < 0.05 for each in lateness[:5])
    assert lateness[5] >= 1.0


def test_a_call_that_ends_in_time_does_not_time_out_and_the_next_still_has_its_deadline(
    runner: asyncio.Runner,
) -> None:
    async def main() -> None:
        deadlines = Deadlines()
        with deadlines.timeout_at(time.monotonic() + 0.02):
            pass
        await asyncio.sleep(0.05)  # its timer goes off
        with deadlines.timeout_at(time.monotonic() + 5):
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError), deadlines.timeout_at(time.monotonic() + 0.02):
            await asyncio.sleep(5)

    with runner:
        runner.run(main())


def test_a_cancellation_from_elsewhere_is_no_timeout(runner: asyncio.Runner) -> None:
    async def main() -> None:
        deadlines = Deadlines()

        async def work() -> None:
            with deadlines.timeout_at(time.monotonic() + 5):
                await asyncio.sleep(5)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with runner:
        runner.run(main())


def test_a_timeout_leaves_the_task_usable(runner: asyncio.Runner) -> None:
    async def main() -> int:
        with pytest.raises(TimeoutError), Deadlines().timeout_at(time.monotonic() + 0.01):
            await asyncio.sleep(5)
        await asyncio.sleep(0.01)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    with runner:
        assert runner.run(main()) == 0


def test_another_error_at_the_deadline_is_not_hidden(runner: asyncio.Runner) -> None:
    async def fail() -> None:
        with Deadlines().timeout_at(time.monotonic() + 0.01):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise KeyError from None

    with runner, pytest.raises(KeyError):
        runner.run(fail())


def test_there_is_one_timer_whatever_deadlines_come() -> None:
    class Counting(asyncio.SelectorEventLoop):
        timers: ClassVar[list[asyncio.TimerHandle]] = []

        def call_later(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            timer = super().call_later(*args, **kwargs)
            self.timers.append(timer)
            return timer

    async def main() -> int:
        deadlines = Deadlines()
        for _ in range(20):
            with (
                deadlines.timeout_at(time.monotonic() + 3600),
                deadlines.timeout_at(time.monotonic() + 0.001),
            ):
                pass
            await asyncio.sleep(0.002)
        now = asyncio.get_running_loop().time()
        return sum(not timer.cancelled() and timer.when() > now for timer in Counting.timers)

    with asyncio.Runner(loop_factory=Counting) as runner:
        assert runner.run(main()) <= 1
