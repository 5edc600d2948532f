"""Work that outlasts the cancellation of whoever waits for it.

A cancelled `await` ends at once, but a thread or a remote write that it waited for goes on. Whoever
holds a lock for such work would release it too early. These functions return only when the work has
ended, and deliver the cancellation then.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def finish(work: Awaitable[Result]) -> Result:
    """Await work to its end, however often this call is cancelled meanwhile.

    Args:
        work: It must end by itself.

    Raises:
        asyncio.CancelledError: The call was cancelled. The work has ended all the same; an error of
            it is the cause.
    """
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if running.cancelled() else running.exception())
    return running.result()


async def finish_in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run a function in a thread as `asyncio.to_thread` does; end only when the thread has.

    Raises:
        asyncio.CancelledError: The call was cancelled; see `finish`.
    """
    # A future rather than the task of a coroutine: asyncio.run cancels every task when it ends.
    call = partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await finish(asyncio.get_running_loop().run_in_executor(None, call))
