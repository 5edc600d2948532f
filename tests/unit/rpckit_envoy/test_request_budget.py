from __future__ import annotations

import asyncio

import pytest

from rpckit.errors import OverloadedError
from rpckit_envoy.request_budget import RequestBudget


async def hold(budget: RequestBudget, caller: str, size: int) -> None:
    with budget.request(caller) as request:
        budget.add(request, size)
        await asyncio.sleep(60)


def begin(budget: RequestBudget, caller: str, *sizes: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(hold(budget, caller, size)) for size in sizes]


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_over_the_budget_the_caller_who_has_most_loses_his_largest() -> None:
    budget = RequestBudget(100)
    tasks = [*begin(budget, "a", 45), *begin(budget, "b", 20, 30, 6)]
    await asyncio.sleep(0.01)
    assert [task.done() for task in tasks] == [False, False, True, False]
    with pytest.raises(OverloadedError):
        await tasks[2]
    assert budget.held == 71
    await end(*tasks)
    assert budget.held == 0


async def test_one_request_always_fits() -> None:
    budget = RequestBudget(10)
    (task,) = begin(budget, "a", 50)
    await asyncio.sleep(0.01)
    assert not task.done()
    await end(task)


async def test_the_request_that_is_over_may_be_the_one_to_go() -> None:
    budget = RequestBudget(10)
    small, large = begin(budget, "a", 5, 50)
    await asyncio.sleep(0.01)
    with pytest.raises(OverloadedError):
        await large
    assert not small.done()
    await end(small)


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    budget = RequestBudget(10)
    (task,) = begin(budget, "a", 5)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
