"""Entry point of the search service: `python -m search_service`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from marquee.interactions.v1 import interactions_pb2
from marquee.search.v1 import index_pb2, search_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount
from rpckit.serving.process import run
from rpckit.settings.loading import load
from search_service.contract.batched_search import BatchedSearch
from search_service.contract.index_servicer import IndexServicer
from search_service.contract.interaction_servicer import InteractionServicer
from search_service.contract.search_servicer import SearchServicer
from search_service.open_index import open_all
from search_service.settings import SearchSettings


@asynccontextmanager
async def wire(settings: SearchSettings, telemetry: Telemetry) -> AsyncIterator[list[Mount]]:
    """Open the vector index and the interactions, and mount the three services on them."""
    async with (
        open_all(settings, telemetry) as opened,
        BatchedSearch.over(opened.index, opened.interactions.seen, settings, telemetry) as batched,
    ):
        index = opened.index
        yield [
            Mount(
                search_pb2.DESCRIPTOR.services_by_name["SearchService"],
                SearchServicer(index, batched, max_answer_bytes=settings.max_send_message_bytes),
                ready=index.check_active,
            ),
            Mount(
                index_pb2.DESCRIPTOR.services_by_name["IndexService"],
                IndexServicer(index),
                ready=index.check_store,
                permission="index",
            ),
            Mount(
                interactions_pb2.DESCRIPTOR.services_by_name["InteractionService"],
                InteractionServicer(opened.interactions),
                ready=index.check_store,
                permission="interactions",
            ),
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    return run("search_service", load(SearchSettings, argv), wire)


if __name__ == "__main__":
    sys.exit(main())
