"""Builds an index: every movie through the embedder's RPC, every vector into the search service.

The index that answers is never touched: a new one is filled beside it, counted, and only then
activated, so a build that fails or is killed leaves what was there before. What it left half done
is deleted by the next one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fusion.records import Movie
from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.search.v1 import index_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from marquee_cli.calls import connected
from marquee_cli.dataset import read_catalogue
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from marquee_cli.processes import SEARCH
from marquee_cli.terminal import bar
from rpckit.field_limits import limits_of

if TYPE_CHECKING:  # they exist for type checkers only
    from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceAsyncStub
    from marquee.search.v1.index_pb2_grpc import IndexServiceAsyncStub

BATCH = 500
"""Movies in one request; the embedder may allow fewer."""
ACTIVATION_SECONDS = 3600.0
"""Budget of an activation, in which Milvus flushes, builds and loads a large index."""
CALL_SECONDS = 60.0
"""Budget of every other call."""
MAX_NAME = limits_of(index_pb2.CreateIndexRequest, "name").bytes.max

Progress = Callable[[int], None]
"""Told how many more movies are done."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did."""

    index: index_pb2.Index
    replaced: str
    """Index of the same model that was active before and is deleted now; empty: none."""
    kept: tuple[str, ...]
    """Other indexes that are still there, to go back to."""


def rebuild(
    connection: Connection,
    data: Path,
    embedder_target: str,
    search_target: str,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Build the index of a catalogue and print what was done.

    Args:
        connection: TLS and token.
        data: Folder of the catalogue.
        embedder_target: Where the embedder is.
        search_target: Where the search service is.
        as_json: Print JSON.
        quiet: Print nothing.

    Raises:
        CommandError: The catalogue cannot be read, or a service cannot be reached or refuses.
    """
    catalogue = read_catalogue(data)

    async def run() -> Built:
        async with (
            connected(connection, embedder_target) as embedder,
            connected(connection, search_target) as search,
        ):
            built = await build(
                EmbedderServiceStub(embedder), IndexServiceStub(search), catalogue, progress
            )
            await _until_searchable(search)
            return built

    with bar("indexing", len(catalogue)) as progress:
        built = asyncio.run(run())
    if as_json:
        print(
            json.dumps(
                {
                    **MessageToDict(built.index, preserving_proto_field_name=True),
                    "kept": built.kept,
                },
                indent=2,
            )
        )
    elif not quiet:
        print(f"index {built.index.name}: {built.index.movie_count} movies, active")
        if built.kept:
            print(f"still there: {', '.join(built.kept)}")


async def build(
    embedder: EmbedderServiceAsyncStub,
    indexes: IndexServiceAsyncStub,
    catalogue: Sequence[Movie],
    progress: Progress = lambda _: None,
) -> Built:
    """Build and activate an index of the whole catalogue.

    Args:
        embedder: Where movies become vectors.
        indexes: Where vectors are kept.
        catalogue: The movies.
        progress: Told of every batch that is written.

    Raises:
        CommandError: The catalogue is empty.
        grpc.aio.AioRpcError: A service refused or failed.
    """
    if not catalogue:
        raise CommandError("the catalogue is empty: there is nothing to index")
    model = await embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS)
    there = (await _list(indexes)).indexes
    name = _free_name(model, there)
    if any(index.name == name for index in there):
        await _delete(indexes, name)  # left by a build that did not end
    await indexes.CreateIndex(
        index_pb2.CreateIndexRequest(
            name=name,
            model_version=model.version,
            dimension=model.dimension,
            metric=model.metric,
            genres=model.genres,
        ),
        timeout=CALL_SECONDS,
    )
    size = min(BATCH, model.max_batch)
    for at in range(0, len(catalogue), size):
        movies = [message_of(movie) for movie in catalogue[at : at + size]]
        embedded = await embedder.EmbedMovies(
            embedder_pb2.EmbedMoviesRequest(movies=movies), timeout=CALL_SECONDS
        )
        await indexes.UpsertMovies(
            index_pb2.UpsertMoviesRequest(index=name, movies=movies, vectors=embedded.vectors),
            timeout=CALL_SECONDS,
        )
        progress(len(movies))
    activated = await indexes.ActivateIndex(
        index_pb2.ActivateIndexRequest(index=name, expected_movie_count=len(catalogue)),
        timeout=ACTIVATION_SECONDS,
    )
    replaced = ""
    for index in (await _list(indexes)).indexes:
        if index.name == activated.previous_index and index.model_version == model.version:
            await _delete(indexes, index.name)
            replaced = index.name
    kept = tuple(i.name for i in (await _list(indexes)).indexes if i.name != name)
    return Built(activated.index, replaced, kept)


async def is_current(
    embedder: EmbedderServiceAsyncStub, indexes: IndexServiceAsyncStub, catalogue: Sequence[Movie]
) -> bool:
    """Tell whether the active index holds as many movies as the catalogue, of the model served."""
    model = await embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS)
    return any(
        index.active
        and index.model_version == model.version
        and index.movie_count == len(catalogue)
        for index in (await _list(indexes)).indexes
    )


def message_of(movie: Movie) -> types_pb2.Movie:
    """Return a movie of the catalogue as the contract has it."""
    return types_pb2.Movie(
        movie_id=movie.movie_id or 0,
        title=movie.title,
        year=movie.year or 0,
        genres=movie.genres,
    )


async def _until_searchable(search: grpc.aio.Channel) -> None:
    """Return when the search service says that it answers; gateways hear of it the same way."""
    request = health_pb2.HealthCheckRequest(service=SEARCH)
    watch = health_pb2_grpc.HealthStub(search).Watch(request, timeout=CALL_SECONDS)
    async for response in watch:
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            watch.cancel()
            return


def _free_name(model: embedder_pb2.GetModelResponse, there: Sequence[index_pb2.Index]) -> str:
    """Return the first of two names for a model's index that is not active."""
    base = re.sub(r"\W", "_", f"{model.name}_{model.version}", flags=re.ASCII)
    base = base if base[0].isalpha() else f"model_{base}"
    active = {index.name for index in there if index.active}
    return next(
        name for name in (base[:MAX_NAME], f"{base[: MAX_NAME - 2]}_b") if name not in active
    )


async def _list(indexes: IndexServiceAsyncStub) -> index_pb2.ListIndexesResponse:
    return await indexes.ListIndexes(index_pb2.ListIndexesRequest(), timeout=CALL_SECONDS)


async def _delete(indexes: IndexServiceAsyncStub, name: str) -> None:
    await indexes.DeleteIndex(index_pb2.DeleteIndexRequest(index=name), timeout=CALL_SECONDS)
