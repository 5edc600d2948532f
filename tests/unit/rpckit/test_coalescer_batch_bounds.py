"""How heavy and how large a batch may be."""

from __future__ import annotations

import asyncio

from tests.unit.rpckit.coalescer_bench import Bench, Job, settle


async def test_an_item_heavier_than_a_batch_gets_a_batch_of_its_own_in_the_order_of_arrival() -> (
    None
):
    bench = Bench(max_batch=4)
    jobs = [Job(0), Job(1), Job(2, weight=9), Job(3), Job(4, weight=3), Job(5)]
    tasks = [bench.submit(job) for job in jobs[:1]]
    await settle()
    tasks += [bench.submit(job) for job in jobs[1:]]
    await settle()
    await bench.finish_all()
    assert bench.numbers() == [[0], [1], [2], [3, 4], [5]]
    assert bench.weights == [1, 1, 9, 4, 1]
    await asyncio.gather(*tasks)


async def test_a_batch_is_bounded_by_bytes_too_and_a_larger_item_gets_one_of_its_own() -> None:
    bench = Bench(max_batch=4, max_in_flight=5)
    sizes = [60, 40, 1, 101, 1, 0, 0, 0, 0]
    tasks = [bench.submit(Job(number, size=size)) for number, size in enumerate(sizes)]
    await settle()
    assert bench.numbers() == [[0, 1], [2], [3], [4, 5, 6, 7], [8]]
    await bench.finish_all()
    await asyncio.gather(*tasks)


async def test_the_bound_of_batches_can_be_lowered_while_items_wait() -> None:
    bench = Bench(max_batch=4)
    tasks = [bench.submit(Job(number)) for number in range(9)]
    await settle()
    bench.coalescer.max_batch = 3
    await bench.finish_all()
    assert bench.numbers() == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]
    await asyncio.gather(*tasks)
