"""The budget for the bytes of requests that have not arrived completely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rpckit.serving.unfinished import UnfinishedRequest


class RequestBudget:
    """Counts the bytes of all unfinished requests, and refuses the heaviest over the budget."""

    def __init__(self, max_bytes: int) -> None:
        """Start without requests.

        Args:
            max_bytes: Most bytes that they may hold together.
        """
        self.held = 0
        """Bytes that they hold."""
        self._max_bytes = max_bytes
        self._requests: dict[UnfinishedRequest, None] = {}  # in the order of their arrival

    @contextmanager
    def request(self, caller: str) -> Iterator[UnfinishedRequest]:
        """Count a request until it is complete or given up.

        Raises:
            OverloadedError: It was refused.
        """
        request = UnfinishedRequest(caller)
        self._requests[request] = None
        try:
            with request:
                yield request
        finally:
            self._forget(request)

    def add(self, request: UnfinishedRequest, size: int) -> None:
        """Count bytes that a request got; it may be the one to be refused."""
        if request not in self._requests:  # refused already
            return
        request.size += size
        self.held += size
        while self.held > self._max_bytes and len(self._requests) > 1:
            refused = self._heaviest()
            self._forget(refused)
            refused.refuse()

    def _heaviest(self) -> UnfinishedRequest:
        """Return the largest request of the caller whose requests hold most.

        So a caller who finishes his requests does not lose them to one who does not.
        """
        held: Counter[str] = Counter()
        for request in self._requests:
            held[request.caller] += request.size
        return max(self._requests, key=lambda request: (held[request.caller], request.size))

    def _forget(self, request: UnfinishedRequest) -> None:
        if self._requests.pop(request, request) is None:
            self.held -= request.size
