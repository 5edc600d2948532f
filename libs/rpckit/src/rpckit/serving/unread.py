"""Answers on grpc.aio that wait to be read, bounded by connection.

C-core keeps an answer until the client has read it, and nothing ends a call whose answer is on its
way. So a connection that reads none of its answers gets no more of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from grpc import aio

from rpckit.errors import OverloadedError

SMALL_BYTES = 64 << 10
"""Answers up to this size are not counted: the number of calls on a connection bounds them."""
LARGEST_ANSWERS = 8
"""Most answers of full size that wait on one connection."""
RETRY_SECONDS = 0.5


class UnreadAnswers:
    """Bytes of the answers that each connection has not read yet."""

    def __init__(self, max_message_bytes: int) -> None:
        """Start without answers.

        Args:
            max_message_bytes: Largest size of an answer.
        """
        self._max_bytes = LARGEST_ANSWERS * max_message_bytes
        self._bytes: Counter[str] = Counter()

    def add(self, answer: bytes, context: aio.ServicerContext[Any, Any]) -> None:
        """Count an answer until it is read or its connection ends.

        Raises:
            OverloadedError: Too much waits on this connection.
        """
        size = len(answer)
        if size <= SMALL_BYTES:
            return
        connection = context.peer()
        if self._bytes[connection] + size > self._max_bytes:
            raise OverloadedError(
                "the client has not read the answers that it already has",
                retry_after=RETRY_SECONDS,
            )
        self._bytes[connection] += size

        def has_been_read(_: object) -> None:
            self._bytes[connection] -= size
            if not self._bytes[connection]:
                del self._bytes[connection]

        context.add_done_callback(has_been_read)  # type: ignore[arg-type]  # the stub wants a class
