"""Record many interactions: as many in one request as the contract allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from marquee.interactions.v1 import interactions_pb2
from rpckit.field_limits import limits_of
from suite.index_builder import CALL_SECONDS, Progress

if TYPE_CHECKING:  # it exists for type checkers only
    from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceAsyncStub

MOST = limits_of(interactions_pb2.RecordInteractionsRequest, "interactions").items.max
"""Largest number of interactions in one request."""


async def record_interactions(
    stub: InteractionServiceAsyncStub,
    interactions: Iterable[interactions_pb2.Interaction],
    progress: Progress = lambda _: None,
) -> None:
    """Record interactions; doing so again changes nothing.

    Args:
        stub: Stub of the search service.
        interactions: The interactions. Sorted by user they are recorded fastest.
        progress: Called with the number of interactions recorded since the last call.

    Raises:
        grpc.aio.AioRpcError: The service refused or failed.
    """
    for request in _requests(iter(interactions)):
        await stub.RecordInteractions(request, timeout=CALL_SECONDS)
        progress(len(request.interactions))


def _requests(
    interactions: Iterator[interactions_pb2.Interaction],
) -> Iterator[interactions_pb2.RecordInteractionsRequest]:
    while some := list(islice(interactions, MOST)):
        yield interactions_pb2.RecordInteractionsRequest(interactions=some)
