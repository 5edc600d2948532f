from __future__ import annotations

import asyncio

import pytest

from rpckit.errors import OverloadedError
from rpckit.serving import read_slots
from rpckit.serving.read_slots import ReadSlots


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_slots, "PATIENCE_SECONDS", 0.01)


async def never() -> bytes:
    await asyncio.sleep(60)
    return b"late"


async def at_once() -> bytes:
    return b"body"


def begin(slots: ReadSlots, caller: str, count: int) -> list[asyncio.Task[bytes]]:
    return [asyncio.create_task(slots.read(caller, never)) for _ in range(count)]


async def end(*tasks: asyncio.Task[bytes]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_request_that_has_arrived_is_read_at_once() -> None:
    slots = ReadSlots(max_bytes=1, max_message_bytes=10)
    assert [await slots.read("a", at_once) for _ in range(3)] == [b"body"] * 3


async def test_the_oldest_unfinished_request_makes_way() -> None:
    slots = ReadSlots(max_bytes=20, max_message_bytes=10)
    first, second = begin(slots, "a", 2)
    await asyncio.sleep(0)
    assert await slots.read("a", at_once) == b"body"
    with pytest.raises(OverloadedError):
        await first
    assert not second.done()
    await end(second)


async def test_a_caller_with_many_ends_his_own_and_not_anothers() -> None:
    slots = ReadSlots(max_bytes=40, max_message_bytes=10)
    (honest,) = begin(slots, "honest", 1)
    nasty = begin(slots, "nasty", 30)
    await asyncio.sleep(0.1)
    assert not honest.done()
    assert sum(task.done() for task in nasty) >= 20
    assert await slots.read("another", at_once) == b"body"
    assert not honest.done()
    await end(honest, *nasty)


async def test_who_gives_up_while_waiting_or_reading_passes_his_turn_on() -> None:
    slots = ReadSlots(max_bytes=10, max_message_bytes=10)
    (reading,) = begin(slots, "a", 1)
    await asyncio.sleep(0)
    (waiting,) = begin(slots, "b", 1)
    await asyncio.sleep(0)
    await end(waiting, reading)
    async with asyncio.timeout(1):
        assert await slots.read("c", at_once) == b"body"


async def test_whoever_has_waited_longest_is_refused_if_too_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_slots, "MAX_WAITING", 2)
    slots = ReadSlots(max_bytes=10, max_message_bytes=10)
    reading, *waiting = begin(slots, "a", 3)
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await slots.read("b", at_once) == b"body"
    with pytest.raises(OverloadedError):
        await waiting[0]
    await end(reading, *waiting)
