"""Turns to read requests on grpc.aio, which bound the memory of the unfinished ones.

While grpc.aio waits for a message, C-core collects its bytes and does not tell how many there are:
as many as a message may have, for as long as the client likes. It collects none, beyond the window
of the stream, for a call that nobody reads. So as many calls are read at a time as may be of full
size. A turn is short, as most requests have arrived when they are read. Whoever waits for one
longer than `PATIENCE_SECONDS` ends one that has lasted as long. The last to come has the next turn:
who has waited for long waits among requests that do not arrive, and is refused first.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rpckit.errors import OverloadedError
from rpckit.serving.unfinished import RETRY_SECONDS, UnfinishedRequest

PATIENCE_SECONDS = 0.25
"""Longest wait for a turn; then a request that arrives too slowly is refused."""
MAX_WAITING = 256
"""Most calls that wait for their turn; each holds up to a window of its stream."""

MessageT = TypeVar("MessageT")


class ReadSlots:
    """As many turns at a time as requests of full size fit into a budget."""

    def __init__(self, *, max_bytes: int, max_message_bytes: int) -> None:
        """Start with all turns free.

        Args:
            max_bytes: Most bytes of all unfinished requests; at least one message is read.
            max_message_bytes: Most bytes of one.
        """
        self._free = max(1, max_bytes // max_message_bytes)
        self._message_bytes = max_message_bytes
        self._reading: dict[UnfinishedRequest, float] = {}  # when their turns began, in order
        self._refused: dict[UnfinishedRequest, str] = {}  # and for whom; they end at once
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def read(self, caller: str, receive: Callable[[], Awaitable[MessageT]]) -> MessageT:
        """Wait for a turn, and return what `receive` returns.

        Raises:
            OverloadedError: Too many others came later, or one of them ended this turn.
        """
        if self._free:
            self._free -= 1
        else:
            await self._turn(caller)
        request = UnfinishedRequest(caller, self._message_bytes)
        self._reading[request] = time.monotonic()
        try:
            with request:
                return await receive()
        finally:
            self._reading.pop(request, None)
            self._refused.pop(request, None)
            self._pass_on()

    async def _turn(self, caller: str) -> None:
        if len(self._waiting) >= MAX_WAITING and not (oldest := self._waiting.popleft()).done():
            oldest.set_exception(
                OverloadedError("too many requests arrive at once", retry_after=RETRY_SECONDS)
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            while not (await asyncio.wait([turn], timeout=PATIENCE_SECONDS))[0]:
                self._refuse_for(caller)
            turn.result()
        except asyncio.CancelledError:
            if not turn.cancel() and turn.exception() is None:
                self._pass_on()
            raise

    def _refuse_for(self, caller: str) -> None:
        """Refuse the oldest request of whoever has most turns, unless the caller has as many."""
        turns = Counter(request.caller for request in self._reading)
        turns.update(self._refused.values())
        lasting = time.monotonic() - PATIENCE_SECONDS
        slow = (request for request, began in self._reading.items() if began <= lasting)
        oldest = max(slow, key=lambda request: turns[request.caller], default=None)
        if oldest and (oldest.caller == caller or turns[oldest.caller] > turns[caller]):
            del self._reading[oldest]
            self._refused[oldest] = caller
            oldest.refuse()

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
