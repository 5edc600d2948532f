"""Run the embedder: `python -m embedder_service`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from embedder_service.batched_embedding import BatchedEmbedding
from embedder_service.encoder import PaddleEncoder
from embedder_service.servicer import EmbedderServicer
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle, BundleError
from marquee.embedder.v1 import embedder_pb2
from rpckit.errors import StartupError
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount
from rpckit.serving.process import run
from rpckit.settings.loading import load


@asynccontextmanager
async def wire(settings: EmbedderSettings, telemetry: Telemetry) -> AsyncIterator[list[Mount]]:
    """Load the bundle and put the batches and the servicer over it."""
    try:
        bundle = Bundle.load(settings.bundle)
    except BundleError as error:
        raise StartupError(str(error)) from error
    encoder = PaddleEncoder(bundle)
    batching = {"max_batch": settings.max_batch, "max_queue": settings.max_queue}
    features = bundle.encoder
    users = BatchedEmbedding(
        encoder, "user", features.user_features, **batching, telemetry=telemetry
    )
    movies = BatchedEmbedding(
        encoder, "movie", features.movie_features, **batching, telemetry=telemetry
    )
    manifest = bundle.manifest
    telemetry.model(
        name=manifest.name,
        version=manifest.version,
        objective=manifest.objective,
        dimension=manifest.dimension,
    )
    service = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"]
    try:
        servicer = EmbedderServicer(bundle, users, movies, max_batch=settings.max_batch)
        yield [Mount(service, servicer, ready=encoder.check)]
    finally:
        await users.close()
        await movies.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    return run("embedder_service", load(EmbedderSettings, argv), wire)


if __name__ == "__main__":
    sys.exit(main())
