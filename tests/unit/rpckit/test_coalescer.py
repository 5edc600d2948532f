"""How items become batches, and what becomes of each item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.unit.rpckit.coalescer_bench import FAR, BadJobError, Bench, Job, iterations, settle

from rpckit.coalescer import LINGER_ITERATIONS, MAX_LINGER_SECONDS, Coalesced, Coalescer
from rpckit.errors import DeadlineError, OverloadedError, ShuttingDownError


async def test_a_lone_item_starts_after_a_few_idle_iterations_of_the_loop() -> None:
    bench = Bench()
    task = bench.submit(Job(1))
    await iterations(1)  # submit runs
    await iterations(LINGER_ITERATIONS)
    assert bench.numbers() == []
    await iterations(1)  # its batch runs
    assert bench.numbers() == [[1]]
    await bench.finish_all()
    assert await task == Coalesced(10, 0.0)


async def test_items_that_arrive_one_by_one_on_a_busy_loop_share_a_batch() -> None:
    bench = Bench(max_batch=3)
    tasks = []
    for number in range(4):
        tasks.append(bench.submit(Job(number)))
        await iterations(LINGER_ITERATIONS - 1)
    assert bench.numbers() == [[0, 1, 2]]  # as many as a batch takes, without another iteration
    await bench.finish_all()
    await settle()
    await bench.finish_all()
    assert [(await task).result for task in tasks] == [0, 10, 20, 30]


async def test_a_full_batch_starts_although_more_items_arrive_for_the_next_slot() -> None:
    bench = Bench(max_batch=3, max_in_flight=2)
    tasks = [bench.submit(Job(number)) for number in range(4)]
    for number in (4, 5):  # never idle
        await iterations(LINGER_ITERATIONS - 2)
        tasks.append(bench.submit(Job(number)))
        assert bench.numbers()[:1] == [[0, 1, 2]]
    await settle()
    await bench.finish_all()
    assert [(await task).result for task in tasks] == [0, 10, 20, 30, 40, 50]


async def test_a_free_slot_does_not_linger_longer_than_the_limit_on_a_loop_that_is_never_idle() -> (
    None
):
    bench = Bench(max_batch=1000)
    tasks = []
    for number in range(10):
        tasks.append(bench.submit(Job(number)))
        await iterations(LINGER_ITERATIONS - 1)
        bench.now += MAX_LINGER_SECONDS / 4
    assert [len(batch) for batch in bench.started] == [4]
    await bench.finish_all()
    await settle()
    await bench.finish_all()
    await asyncio.gather(*tasks)


async def test_a_loop_can_close_while_a_slot_lingers() -> None:
    bench = Bench()
    task = bench.submit(Job(0))
    await iterations(2)
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    await settle()
    assert task.cancelled()
    assert bench.in_flight() == 0
    await bench.coalescer.close()


async def test_items_that_arrive_while_the_slot_is_busy_share_the_next_batch() -> None:
    bench = Bench()
    tasks = [bench.submit(Job(0))]
    await settle()
    for number in (1, 2, 3):
        tasks.append(bench.submit(Job(number)))
        await settle()
    assert bench.numbers() == [[0]]
    await bench.finish(0)
    assert bench.numbers() == [[0], [1, 2, 3]]
    await bench.finish_all()
    assert [(await task).result for task in tasks] == [0, 10, 20, 30]


async def test_items_that_arrive_in_one_iteration_share_batches_and_use_every_free_slot() -> None:
    bench = Bench(max_batch=2, max_in_flight=3, max_queue=0)
    tasks = [bench.submit(Job(number)) for number in range(6)]
    await settle()
    assert bench.numbers() == [[0, 1], [2, 3], [4, 5]]
    await bench.finish_all()
    await asyncio.gather(*tasks)


async def test_no_slot_stays_free_when_items_pack_badly() -> None:
    bench = Bench(max_batch=5, max_in_flight=3)
    tasks = [bench.submit(Job(n, weight)) for n, weight in enumerate((3, 4, 3))]
    await settle()
    assert bench.numbers() == [[0], [1], [2]]
    await bench.finish_all()
    await asyncio.gather(*tasks)


async def test_a_burst_within_one_iteration_is_bounded_too() -> None:
    bench = Bench(max_batch=2, max_in_flight=2, max_queue=3)
    tasks = [bench.submit(Job(n)) for n in range(20)]
    await settle()
    assert bench.drops == ["overloaded"] * 13
    assert bench.queued() == 3
    await bench.finish_all()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, Coalesced) for outcome in outcomes] == [True] * 7 + [False] * 13


async def test_a_full_queue_refuses_at_once_and_says_when_to_retry() -> None:
    bench = Bench(max_batch=2, max_queue=2)
    held = [bench.submit(Job(0))]
    await settle()
    bench.now = 3.0
    await bench.finish(0)  # a batch takes three seconds, as far as is known
    held += [bench.submit(Job(number)) for number in (1, 2)]
    await settle()
    held += [bench.submit(Job(number)) for number in (3, 4)]
    await settle()
    with pytest.raises(OverloadedError) as refused:
        await bench.coalescer.submit(Job(5), deadline=FAR)
    assert refused.value.retry_after == pytest.approx(2 * 0.2 * 3.0)
    assert bench.drops == ["overloaded"]
    await bench.finish_all()
    await asyncio.gather(*held)
    assert all(5 not in batch for batch in bench.numbers())


async def test_an_item_that_expires_in_the_queue_is_never_worked_on() -> None:
    bench = Bench()
    first = bench.submit(Job(0))
    await settle()
    late, patient = bench.submit(Job(1), deadline=5.0), bench.submit(Job(2), deadline=9.0)
    await settle()
    bench.now = 6.0
    await bench.finish(0)
    with pytest.raises(DeadlineError):
        await late
    await bench.finish_all()
    assert bench.numbers() == [[0], [2]]
    assert (await patient).queue_seconds == 6.0
    assert bench.drops == ["expired"]
    await first


async def test_an_item_that_comes_too_late_is_refused_without_queueing() -> None:
    bench = Bench()
    first = bench.submit(Job(0))
    await settle()
    bench.now = 2.0
    with pytest.raises(DeadlineError):
        await bench.coalescer.submit(Job(1), deadline=2.0)
    await bench.finish_all()
    assert bench.numbers() == [[0]]
    await first


async def test_a_bad_item_fails_alone() -> None:
    bench = Bench()
    tasks = [bench.submit(Job(n, bad=n == 1)) for n in range(3)]
    await settle()
    await bench.finish_all()
    assert (await tasks[0]).result == 0
    with pytest.raises(BadJobError):
        await tasks[1]
    assert (await tasks[2]).result == 20


async def test_work_that_raises_fails_its_batch_and_no_other() -> None:
    bench = Bench(max_batch=2)
    tasks = [bench.submit(Job(n)) for n in range(4)]
    await settle()
    await bench.finish(0, OSError("store lost"))
    await bench.finish_all()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError, Coalesced, Coalesced]


async def test_a_wrong_number_of_results_fails_the_batch_as_a_defect() -> None:
    async def forgetful(jobs: Sequence[Job]) -> Sequence[int]:
        return [0] * (len(jobs) - 1)

    coalescer = Coalescer(forgetful, name="x", max_batch=4, max_in_flight=1, max_queue=4)
    submits = [coalescer.submit(Job(n), deadline=FAR) for n in range(2)]
    outcomes = await asyncio.gather(*submits, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["x: 1 results for 2 items; a bug"] * 2


async def test_a_cancelled_item_in_the_queue_is_dropped() -> None:
    bench = Bench()
    first = bench.submit(Job(0))
    await settle()
    gone, stays = bench.submit(Job(1)), bench.submit(Job(2))
    await settle()
    gone.cancel()
    await settle()
    assert bench.queued() == 1
    await bench.finish_all()
    assert bench.numbers() == [[0], [2]]
    assert gone.cancelled()
    assert bench.drops == ["cancelled"]
    await asyncio.gather(first, stays)


async def test_an_item_cancelled_in_the_iteration_in_which_its_batch_starts_is_not_worked_on() -> (
    None
):
    bench = Bench()
    gone, stays = bench.submit(Job(1)), bench.submit(Job(2))
    await asyncio.sleep(0)  # queued; the batch starts on the next iteration
    gone.cancel()
    await settle()
    assert bench.numbers() == [[2]]
    await bench.finish_all()
    await stays
    assert bench.queued() == 0


async def test_a_batch_is_cancelled_when_all_of_its_callers_have_left_and_not_before() -> None:
    bench = Bench()
    first, second = bench.submit(Job(1)), bench.submit(Job(2))
    await settle()
    first.cancel()
    await settle()
    assert bench.cancelled == []
    second.cancel()
    await settle()
    assert bench.cancelled == [0]
    assert bench.in_flight() == 0
    third = bench.submit(Job(3))
    await settle()
    await bench.finish_all()
    assert (await third).result == 30


async def test_a_caller_that_left_a_running_batch_costs_the_others_nothing() -> None:
    bench = Bench()
    gone, stays = bench.submit(Job(1)), bench.submit(Job(2))
    await settle()
    gone.cancel()
    await settle()
    await bench.finish_all()
    assert (await stays).result == 20


async def test_close_refuses_new_items_and_finishes_those_admitted() -> None:
    bench = Bench()
    tasks = [bench.submit(Job(0))]
    await settle()
    tasks += [bench.submit(Job(1)), bench.submit(Job(2))]
    await settle()
    closing = asyncio.create_task(bench.coalescer.close())
    await settle()
    with pytest.raises(ShuttingDownError):
        await bench.coalescer.submit(Job(3), deadline=FAR)
    assert not closing.done()
    await bench.finish_all()
    await closing
    assert [(await task).result for task in tasks] == [0, 10, 20]


def test_limits_that_would_never_let_anything_through_are_refused() -> None:
    for limits in ({"max_batch": 0}, {"max_in_flight": 0}, {"max_queue": -1}):
        with pytest.raises(ValueError, match="bench"):
            Bench(**limits)
