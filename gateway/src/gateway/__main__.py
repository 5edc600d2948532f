"""Run the gateway: `python -m gateway`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from gateway import interaction_servicer, opaque_movies
from gateway.batched_ranking import BatchedRanking
from gateway.batched_similarity import BatchedSimilarity
from gateway.request_batches import Bounds
from gateway.servicer import RecommenderServicer
from gateway.settings import GatewaySettings
from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import search_pb2
from rpckit.calling.channel import connect
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount
from rpckit.serving.process import run
from rpckit.settings.loading import load

EMBEDDER = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"]
SEARCH = search_pb2.DESCRIPTOR.services_by_name["SearchService"]
RECOMMENDER = recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"]


@asynccontextmanager
async def wire(settings: GatewaySettings, telemetry: Telemetry) -> AsyncIterator[list[Mount]]:
    """Connect to the two services and put the batches and the servicer over them."""
    async with (
        connect(settings.embedder, EMBEDDER, telemetry=telemetry) as embedder,
        connect(
            settings.search, SEARCH, interaction_servicer.SERVICE, telemetry=telemetry
        ) as search,
        AsyncExitStack() as stack,
    ):
        search_movies = search.unary(
            SEARCH.methods_by_name["SearchMovies"], opaque_movies.SearchMoviesResponse.FromString
        )
        bounds = Bounds(
            max_batch=settings.max_batch,
            max_message_bytes=min(
                settings.embedder.max_message_bytes, settings.search.max_message_bytes
            ),
            max_in_flight=settings.max_in_flight,
        )
        embed_users = embedder.unary(EMBEDDER.methods_by_name["EmbedUsers"])
        ranking = BatchedRanking(embed_users, search_movies, bounds, telemetry)
        stack.push_async_callback(ranking.close)
        similarity = BatchedSimilarity(search_movies, bounds, telemetry)
        stack.push_async_callback(similarity.close)

        async def ready() -> None:
            embedder.check_ready()
            search.check_ready()

        async def search_ready() -> None:
            search.check_ready()

        yield [
            Mount(RECOMMENDER, RecommenderServicer(ranking, similarity), ready),
            Mount(
                interaction_servicer.SERVICE,
                interaction_servicer.InteractionServicer(search),
                search_ready,
                permission="interactions",
            ),
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    return run("gateway", load(GatewaySettings, argv), wire)


if __name__ == "__main__":
    sys.exit(main())
