"""Requests that wait at the same time leave together, in batches that the hops take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from gateway.message_sizes import REST_BYTES
from rpckit.coalescer import Coalesced, Coalescer
from rpckit.errors import InvalidRequestError, MessageTooLargeError, ServiceError
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.call import Call


class Request(Protocol):
    """What one caller asks for; one row of a batch."""

    @property
    def call(self) -> Call:
        """The caller's call."""
        ...


AnyRequest = TypeVar("AnyRequest", bound=Request)
Answer = TypeVar("Answer")


class Bounds(NamedTuple):
    """How large batches may be, and how many of them are under way."""

    max_batch: int
    """Most requests in one batch."""
    max_message_bytes: int
    """Largest message to or from a hop."""
    max_in_flight: int
    """Most batches under way at once; further requests wait."""


class RequestBatches(Generic[AnyRequest, Answer]):
    """A queue of requests, of which batches are made."""

    def __init__(
        self,
        answer: Callable[[Sequence[AnyRequest]], Awaitable[list[Answer | Exception]]],
        *,
        name: str,
        measure: Callable[[AnyRequest], int],
        bounds: Bounds,
        telemetry: Telemetry,
    ) -> None:
        """Make batches for `answer`.

        Args:
            answer: Calls the hops; returns an answer or an exception for each request.
            name: Name of the queue in messages and metrics.
            measure: Returns the most bytes that a request adds to a message.
            bounds: Bounds of the batches.
            telemetry: Where batches and waits are measured.
        """
        self._answer = answer
        self._coalescer = Coalescer(
            self._answer_batch,
            name=name,
            max_batch=bounds.max_batch,
            max_in_flight=bounds.max_in_flight,
            max_batch_bytes=bounds.max_message_bytes - REST_BYTES,
            measure=measure,
            observer=telemetry.coalescer(name),
        )

    def submit(self, request: AnyRequest) -> Awaitable[Coalesced[Answer]]:
        """Return the answer to a request and its time in the queue.

        Raises:
            DeadlineError: The request's budget ran out.
            ServiceError: What a hop answered instead.
        """
        return self._coalescer.submit(request, deadline=request.call.deadline)

    async def close(self) -> None:
        """Finish what is under way and refuse the rest."""
        await self._coalescer.close()

    async def _answer_batch(self, requests: Sequence[AnyRequest]) -> list[Answer | Exception]:
        """Answer a batch; halve one that is larger than a hop takes, until it fits."""
        try:
            return await self._answer(requests)
        except ServiceError as error:
            if len(requests) == 1 or not self._is_too_large(error, len(requests)):
                return [error] * len(requests)
        half = len(requests) // 2
        return [
            *await self._answer_batch(requests[:half]),
            *await self._answer_batch(requests[half:]),
        ]

    def _is_too_large(self, error: ServiceError, rows: int) -> bool:
        """Tell whether a hop refused a batch for its size; remember how many rows are too many."""
        if isinstance(error, InvalidRequestError):
            fields = {violation.field for violation in error.violations}
            if "users" in fields:  # more than GetModelResponse.max_batch of the replica
                self._coalescer.max_batch = min(self._coalescer.max_batch, rows // 2)
            return not fields.isdisjoint(("users", "queries"))
        return isinstance(error, MessageTooLargeError)


def budget(requests: Sequence[Request]) -> float:
    """Return what the most patient request has left.

    Each request's own deadline still holds, and the channel has a bound for each attempt.
    """
    longest = max(requests, key=lambda request: request.call.deadline)
    return longest.call.budget()


def microseconds(seconds: float) -> int:
    """Return a duration in whole microseconds."""
    return round(seconds * 1e6)
