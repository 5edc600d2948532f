"""Build an index: embed every movie, and write every vector to the search service.

The active index is never changed: a new one is filled, counted, and only then activated. So a build
that fails or is killed leaves the active index unchanged. Every build has a name of its own, so two
at once do not meet: the one that ends last stays active. A build that fails deletes its index; what
one that was killed leaves, a later build deletes.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc

from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import index_pb2
from marquee.type.v1 import types_pb2
from rpckit.field_limits import limits_of

if TYPE_CHECKING:  # they exist for type checkers only
    from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceAsyncStub
    from marquee.search.v1.index_pb2_grpc import IndexServiceAsyncStub

MOVIES_PER_REQUEST = 500
"""The embedder may allow fewer."""
ACTIVATION_SECONDS = 3600.0
"""Timeout of an activation, in which Milvus flushes, builds and loads a large index."""
CALL_SECONDS = 60.0
"""Timeout of every other call."""
ABANDONED_AFTER = timedelta(days=1)
"""Age from which on an index that was never activated counts as left by a build that was killed."""
MAX_NAME = limits_of(index_pb2.CreateIndexRequest, "name").bytes.max
"""Longest name of an index."""

_BEGUN = "%Y%m%d_%H%M%S"
_UNIQUE = re.compile(r".*_(\d{8}_\d{6})_[0-9a-f]{8}")
"""End of the name of an index: when its build began, in UTC, and random digits."""

Progress = Callable[[int], None]
"""Called with the number of movies written since the last call."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Movies for one request, and their vectors."""

    movies: Sequence[types_pb2.Movie]
    vectors: types_pb2.Vectors


@dataclass(frozen=True, slots=True)
class FilledIndex:
    """An index that was filled and activated."""

    index: index_pb2.Index
    previous: str
    """Index that was active before; empty: none."""
    write_seconds: float
    """Time that embedding and writing took."""
    activation_seconds: float


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index that replaced another."""

    index: index_pb2.Index
    replaced: str
    """Index of the same model that was active before and is deleted now; empty: none."""
    kept: tuple[str, ...]
    """Other indexes that are still there, to go back to."""


async def find_current_index(
    embedder: EmbedderServiceAsyncStub, indexes: IndexServiceAsyncStub, movie_count: int
) -> index_pb2.Index | None:
    """Return the active index if it has the served model's vectors and this many movies, else None.

    Raises:
        grpc.aio.AioRpcError: A service refused or failed.
    """
    model = await embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS)
    for index in await _list(indexes):
        is_of_model = index.model_version == model.version
        if index.active and is_of_model and index.movie_count == movie_count:
            return index
    return None


async def build_index(
    embedder: EmbedderServiceAsyncStub,
    indexes: IndexServiceAsyncStub,
    movies: Sequence[types_pb2.Movie],
    progress: Progress = lambda _: None,
) -> BuiltIndex:
    """Build the index of a whole catalogue, activate it and delete the one that it replaces.

    Delete also what builds of the same model left that were killed long ago.

    Args:
        embedder: Stub of the embedder.
        indexes: Stub of the search service.
        movies: All movies of the catalogue.
        progress: Called after every batch.

    Raises:
        ValueError: The catalogue is empty.
        grpc.aio.AioRpcError: A service refused or failed.
    """
    if not movies:
        raise ValueError("the catalogue is empty: there is nothing to index")
    model = await embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=CALL_SECONDS)
    name = _unique_name(model)
    description = index_pb2.CreateIndexRequest(
        name=name,
        model_version=model.version,
        dimension=model.dimension,
        metric=model.metric,
        genres=model.genres,
    )
    batches = _embedded(embedder, movies, min(MOVIES_PER_REQUEST, model.max_batch))
    try:
        filled = await fill_index(indexes, description, batches, progress)
    except BaseException:
        with suppress(grpc.RpcError):  # the first error must be seen; a later build tries again
            await _delete(indexes, name)
        raise
    replaced, kept = "", []
    for index in await _list(indexes):
        is_of_model = index.model_version == model.version
        if index.name == name:
            continue
        if index.name == filled.previous and is_of_model:
            await _delete(indexes, index.name)
            replaced = index.name
        elif is_of_model and not index.active and _is_abandoned(index.name):
            await _delete(indexes, index.name)
        else:
            kept.append(index.name)
    return BuiltIndex(filled.index, replaced, tuple(kept))


async def fill_index(
    indexes: IndexServiceAsyncStub,
    description: index_pb2.CreateIndexRequest,
    batches: AsyncIterable[Batch],
    progress: Progress = lambda _: None,
    *,
    call_seconds: float = CALL_SECONDS,
) -> FilledIndex:
    """Create an index, write movies into it and activate it once all have arrived.

    An inactive index of that name, left by an unfinished build, is deleted first.

    Args:
        indexes: Stub of the search service.
        description: Request that creates the index.
        batches: All movies and vectors.
        progress: Called after every batch.
        call_seconds: Timeout of every call but the activation.

    Raises:
        grpc.aio.AioRpcError: A service refused, as for the name of the active index, or failed.
    """
    name = description.name
    if any(index.name == name and not index.active for index in await _list(indexes)):
        await _delete(indexes, name)
    await indexes.CreateIndex(description, timeout=call_seconds)
    begun = time.monotonic()
    written = 0
    async for batch in batches:
        request = index_pb2.UpsertMoviesRequest(
            index=name, movies=batch.movies, vectors=batch.vectors
        )
        await indexes.UpsertMovies(request, timeout=call_seconds)
        written += len(batch.movies)
        progress(len(batch.movies))
    filled = time.monotonic()
    activated = await indexes.ActivateIndex(
        index_pb2.ActivateIndexRequest(index=name, expected_movie_count=written),
        timeout=ACTIVATION_SECONDS,
    )
    return FilledIndex(
        activated.index, activated.previous_index, filled - begun, time.monotonic() - filled
    )


async def _embedded(
    embedder: EmbedderServiceAsyncStub, movies: Sequence[types_pb2.Movie], size: int
) -> AsyncIterator[Batch]:
    for first in range(0, len(movies), size):
        batch = movies[first : first + size]
        embedded = await embedder.EmbedMovies(
            embedder_pb2.EmbedMoviesRequest(movies=batch), timeout=CALL_SECONDS
        )
        yield Batch(batch, embedded.vectors)


def _unique_name(model: embedder_pb2.GetModelResponse) -> str:
    """Return a name for an index of a model that no other build uses."""
    base = re.sub(r"\W", "_", f"{model.name}_{model.version}", flags=re.ASCII)
    base = base if base[0].isalpha() else f"model_{base}"
    unique = f"_{datetime.now(UTC):{_BEGUN}}_{secrets.token_hex(4)}"
    return base[: MAX_NAME - len(unique)] + unique


def _is_abandoned(name: str) -> bool:
    """Return whether the build of an inactive index began so long ago that it must be over."""
    unique = _UNIQUE.fullmatch(name)
    return unique is not None and unique[1] < f"{datetime.now(UTC) - ABANDONED_AFTER:{_BEGUN}}"


async def _list(indexes: IndexServiceAsyncStub) -> Sequence[index_pb2.Index]:
    response = await indexes.ListIndexes(index_pb2.ListIndexesRequest(), timeout=CALL_SECONDS)
    return response.indexes


async def _delete(indexes: IndexServiceAsyncStub, name: str) -> None:
    await indexes.DeleteIndex(index_pb2.DeleteIndexRequest(index=name), timeout=CALL_SECONDS)
