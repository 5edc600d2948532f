"""Work ends before the cancellation of whoever waits for it takes effect."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import threading

import pytest
from tests.fixtures.sources import ROOT, SOURCES, modules

from rpckit.finishing import finish, finish_in_thread


class Work:
    """A function that blocks its thread until it may end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()
        self.ended = False
        self._error = error

    def __call__(self) -> str:
        self.started.set()
        assert self.may_end.wait(60)
        self.ended = True
        if self._error:
            raise self._error
        return "done"

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.wait, 60)


async def test_a_thread_gives_its_result_its_error_and_has_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert await finish_in_thread(variable.get) == 7
    assert await finish_in_thread(int, "11", base=2) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await finish_in_thread(int, "x")


@pytest.mark.parametrize("error", [None, OSError("broken")])
async def test_cancelled_again_and_again_it_ends_with_its_thread(error: OSError | None) -> None:
    work = Work(error)
    task = asyncio.create_task(finish_in_thread(work))
    await work.has_started()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    work.may_end.set()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert work.ended
    assert raised.value.__cause__ is error


async def test_a_timeout_is_still_one() -> None:
    work = Work()
    asyncio.get_running_loop().call_later(0.1, work.may_end.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await finish_in_thread(work)
    assert work.ended


async def test_a_coroutine_is_not_cancelled_with_its_caller() -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        await may_end.wait()
        ended.set()

    task = asyncio.create_task(finish(write()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize("package", SOURCES)
def test_threads_run_by_these_functions_only(package: str) -> None:
    users = {
        path.relative_to(ROOT).name
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"to_thread", "run_in_executor"}
    }
    assert users <= {"finishing.py"}
