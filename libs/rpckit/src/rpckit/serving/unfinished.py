"""A request that has not arrived completely, and may be refused because of what it holds."""

from __future__ import annotations

import asyncio
from types import TracebackType

from rpckit.errors import OverloadedError

RETRY_SECONDS = 0.5
"""RetryInfo of a refused request."""


class UnfinishedRequest:
    """A request that arrives; a context manager around what waits for it.

    Another task may refuse it meanwhile: then leaving the context raises OverloadedError.
    """

    __slots__ = ("_cancelling", "_is_refused", "_task", "caller", "size")

    def __init__(self, caller: str, size: int = 0) -> None:
        """Describe a request.

        Args:
            caller: Name of the caller.
            size: Bytes that it holds.
        """
        self.caller = caller
        self.size = size
        """Bytes that it holds."""
        self._is_refused = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - used in coroutines
        self._task = task
        self._cancelling = task.cancelling()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # As in asyncio.timeout: a cancellation from elsewhere stays a cancellation.
        if (
            self._is_refused
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise OverloadedError(
                "requests that have not arrived completely hold too much memory",
                retry_after=RETRY_SECONDS,
            ) from None

    def refuse(self) -> None:
        """End the request, once."""
        if not self._is_refused:
            self._is_refused = True
            self._task.cancel()
