"""`marquee index`: build the index of the catalogue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from fusion.records import Movie
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from marquee_cli.calls import connected
from marquee_cli.dataset import load, read_catalogue, read_source
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from marquee_cli.ratings import interactions
from marquee_cli.terminal import progress_bar
from suite.health import wait_until_serving
from suite.index_builder import CALL_SECONDS, BuiltIndex, build_index
from suite.interaction_recorder import record_interactions
from suite.services import EMBEDDER, SEARCH, SEARCH_SERVICE
from training.movielens import Dataset


def rebuild(
    connection: Connection,
    data: Path,
    embedder_target: str,
    search_target: str,
    *,
    with_interactions: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Build the index of a catalogue and print a summary.

    Args:
        connection: TLS and token.
        data: Folder of the catalogue.
        embedder_target: Where the embedder is.
        search_target: Where the search service is.
        with_interactions: Record the ratings of the data set as interactions, too.
        as_json: Print JSON.
        quiet: Print nothing.

    Raises:
        CommandError: The catalogue cannot be read or is empty, or a service cannot be reached or
            refuses.
    """
    movies = movie_messages(read_catalogue(data))
    rated = load(read_source(data)) if with_interactions else None

    async def build() -> BuiltIndex:
        async with (
            connected(connection, EMBEDDER, embedder_target) as embedder,
            connected(connection, SEARCH, search_target) as search,
        ):
            built = await build_index(
                EmbedderServiceStub(embedder), IndexServiceStub(search), movies, progress
            )
            # Gateways watch the same health service, so they are ready now too.
            await wait_until_serving(search, SEARCH_SERVICE, CALL_SECONDS)
            return built

    async def record(dataset: Dataset) -> None:
        async with connected(connection, SEARCH, search_target) as search:
            stub = InteractionServiceStub(search)
            await record_interactions(stub, interactions(dataset), progress)

    with progress_bar("indexing", len(movies)) as progress:
        built = asyncio.run(build())
    if rated is not None:
        with progress_bar("recording ratings", len(rated.ratings)) as progress:
            asyncio.run(record(rated))
    if as_json:
        report = MessageToDict(built.index, preserving_proto_field_name=True)
        recorded = 0 if rated is None else len(rated.ratings)
        report |= {"kept": built.kept, "interactions": recorded}
        print(json.dumps(report, indent=2))
    elif not quiet:
        print(f"index {built.index.name}: {built.index.movie_count} movies, active")
        if rated is not None:
            print(f"{len(rated.ratings):,} ratings recorded as interactions")
        if built.kept:
            print(f"still there: {', '.join(built.kept)}")


def movie_messages(catalogue: Sequence[Movie]) -> list[types_pb2.Movie]:
    """Return the movies of a catalogue as messages of the contract.

    Raises:
        CommandError: It is empty.
    """
    if not catalogue:
        raise CommandError("the catalogue is empty: there is nothing to index")
    return [
        types_pb2.Movie(
            movie_id=movie.movie_id or 0,
            title=movie.title,
            year=movie.year or 0,
            genres=movie.genres,
        )
        for movie in catalogue
    ]
