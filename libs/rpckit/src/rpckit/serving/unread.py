"""Answers on grpc.aio that wait to be read, bounded by connection.

C-core keeps an answer until the client has read it, and nothing ends a call whose answer is on its
way. So a connection that reads none of its answers gets no more of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from grpc import aio

SMALL_BYTES = 64 << 10
"""Answers up to this size are not counted: the number of calls on a connection bounds them."""
LARGEST_ANSWERS = 8
"""Most answers of full size that wait on one connection; grpc.aio has two copies of each."""
BUSY_CONNECTIONS = 2
"""If answers wait that fill so many connections, a connection on which some wait gets no more."""


class UnreadAnswers:
    """Bytes of the answers that each connection has not read yet."""

    def __init__(self, max_message_bytes: int) -> None:
        """Start without answers.

        Args:
            max_message_bytes: Largest size of an answer.
        """
        self._max_bytes = LARGEST_ANSWERS * max_message_bytes
        self._bytes: Counter[str] = Counter()
        self._total = 0

    def is_full(self, context: aio.ServicerContext[Any, Any], size: int) -> bool:
        """Tell whether another answer is too much for a connection; otherwise count it until read.

        Args:
            context: The call.
            size: Bytes of the answer.
        """
        if size <= SMALL_BYTES:
            return False
        connection = context.peer()
        waiting = self._bytes[connection]
        if waiting + size > self._max_bytes:
            return True
        if waiting and self._total + size > BUSY_CONNECTIONS * self._max_bytes:
            return True
        self._bytes[connection] += size
        self._total += size

        def has_been_read(_: object) -> None:
            self._bytes[connection] -= size
            self._total -= size
            if not self._bytes[connection]:
                del self._bytes[connection]

        context.add_done_callback(has_been_read)  # type: ignore[arg-type]  # the stub wants a class
        return False
