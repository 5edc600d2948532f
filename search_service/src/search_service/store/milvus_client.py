"""A connection to Milvus with what this service needs of it; the only pymilvus client."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from operator import itemgetter
from typing import Any, Literal, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType, MilvusException

from search_service.index.errors import IndexNotFoundError, StoreUnavailableError
from search_service.index.vector_index import METRIC, IndexedMovie, IndexSpec
from search_service.store import collection_schema as schema
from search_service.store import milvus_messages
from search_service.store.filter_expressions import ids_above, ids_in, revised_since
from search_service.store.milvus_errors import is_alias_not_found, translating_errors

IndexType = Literal["FLAT", "HNSW"]
"""How a collection is searched: by brute force, or by a graph."""

HNSW_BUILD = {"M": 32, "efConstruction": 256}
"""Neighbours of a node, and candidates looked at to choose them."""
HNSW_LEAST_EF = 128
"""Candidates that a search keeps at least."""

_NO_RETRIES: dict[str, Any] = {"retry_times": 0}
"""pymilvus would retry 75 times; here the caller's budget and a fast refusal come first."""

# It logs every failure with a stack trace; this module raises each as what it means.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Milvus:
    """What this service asks of Milvus. Every method may raise StoreUnavailableError."""

    def __init__(self, client: AsyncMilvusClient, timeout: float) -> None:
        """Use a client of the running loop; see `connect`."""
        self._client = client
        self._timeout = timeout
        self._revision = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, uri: str, token: str, timeout: float) -> AsyncIterator[Self]:
        """Make a client; Milvus need not be there yet, nor stay.

        Args:
            uri: http or https.
            token: `user:password` or an API key. Empty: none.
            timeout: Seconds that a read, a write or a connection may take.
        """
        client = AsyncMilvusClient(
            uri=uri,
            token=token,
            timeout=min(1.0, timeout),  # for one attempt to connect
            dedicated=True,
            # The default is two minutes, in which a Milvus that is back would not be noticed.
            grpc_options={"grpc.max_reconnect_backoff_ms": 500},
        )
        try:
            yield cls(client, timeout)
        finally:
            await client.close()

    async def set_alias(self, alias: str, index: str) -> None:
        """Let an alias stand for an index, atomically."""
        async with self._translating_errors(index):
            try:
                await self._client.alter_alias(index, alias, **_NO_RETRIES)
            except MilvusException as error:
                if not is_alias_not_found(error):
                    raise
                await self._client.create_alias(index, alias, **_NO_RETRIES)

    async def collection_names(self) -> list[str]:
        """Return the names of all collections, those of others too."""
        async with self._translating_errors():
            return list(await self._client.list_collections(**_NO_RETRIES))

    async def spec(self, name: str) -> IndexSpec:
        """Return what the index of a name, or of an alias, says it is.

        Raises:
            IndexNotFoundError: There is no such, or it is not one of this service.
        """
        spec, _ = await self.spec_and_edition(name)
        return spec

    async def spec_and_edition(self, name: str) -> tuple[IndexSpec, str]:
        """Return what `spec` does, and the index's edition; empty: it has none yet.

        Raises:
            IndexNotFoundError: There is no such, or it is not one of this service.
        """
        async with self._translating_errors(name):
            answer = await self._client.describe_collection(name, **_NO_RETRIES)
        spec = schema.spec(answer)
        if spec is None:
            raise IndexNotFoundError.of(name)
        return spec, schema.edition(answer)

    async def create(self, spec: IndexSpec) -> None:
        """Make an empty collection; it is neither indexed nor loaded."""
        fields = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        fields.add_field(schema.ID, DataType.INT64, is_primary=True)
        fields.add_field(schema.VECTOR, DataType.FLOAT_VECTOR, dim=spec.dimension)
        fields.add_field(schema.TITLE, DataType.VARCHAR, max_length=schema.MAX_TITLE_BYTES)
        fields.add_field(schema.YEAR, DataType.INT16)
        fields.add_field(schema.GENRES, DataType.INT64)
        fields.add_field(schema.REVISION, DataType.INT64)
        for position in range(len(spec.genres)):
            fields.add_field(schema.genre_field(position), DataType.BOOL)
        async with self._translating_errors(spec.name):
            await self._client.create_collection(
                spec.name,
                schema=fields,
                properties=schema.properties(spec),
                consistency_level="Bounded",
                **_NO_RETRIES,
            )

    async def drop(self, name: str) -> None:
        """Delete a collection."""
        async with self._translating_errors(name):
            await self._client.drop_collection(name, **_NO_RETRIES)

    async def index_type(self, name: str) -> IndexType | None:
        """Return how a collection is searched; None before it is indexed."""
        async with self._translating_errors(name):
            if not await self._client.list_indexes(name, **_NO_RETRIES):
                return None
            answer = await self._client.describe_index(name, schema.VECTOR, **_NO_RETRIES)
        if answer["metric_type"] != METRIC:
            raise StoreUnavailableError(f"index {name!r} has metric {answer['metric_type']}")
        return "HNSW" if answer["index_type"] == "HNSW" else "FLAT"

    async def build_index(self, name: str, index_type: IndexType, *, replace: bool) -> None:
        """Make a collection searchable; returns when it is, which for a large graph takes minutes.

        Args:
            name: Which collection.
            index_type: How it will be searched.
            replace: Whether it is indexed in another way, and perhaps loaded.
        """
        params = self._client.prepare_index_params()
        params.add_index(
            schema.VECTOR,
            index_type=index_type,
            index_name=schema.VECTOR,
            metric_type=METRIC,
            params=HNSW_BUILD if index_type == "HNSW" else {},
        )
        async with self._translating_errors(name, patient=True):
            if replace:
                await self._client.release_collection(name, **_NO_RETRIES)
                await self._client.drop_index(name, schema.VECTOR, **_NO_RETRIES)
            try:
                await self._client.create_index(name, params, **_NO_RETRIES)
            except grpc.RpcError as error:
                # Milvus Lite indexes at once, but cannot be waited for.
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise

    async def load(self, name: str) -> None:
        """Load a collection into memory; nothing happens if it is."""
        async with self._translating_errors(name, patient=True):
            await self._client.load_collection(name, **_NO_RETRIES)

    async def is_loaded(self, name: str) -> bool:
        """Tell whether a collection can be searched now."""
        async with self._translating_errors(name):
            answer = await self._client.get_load_state(name, **_NO_RETRIES)
            return str(answer["state"]) == "Loaded"

    async def flush(self, name: str) -> None:
        """Write a collection's segments out, so that they can be indexed and loaded as such."""
        async with self._translating_errors(name, patient=True):
            await self._client.flush(name, timeout=60)

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: NDArray[np.float32]
    ) -> int:
        """Write movies with their vectors; return their revision."""
        self._revision = revision = max(self._revision + 1, time.time_ns())
        async with self._translating_errors(index.name):
            rows = list(schema.rows(index, movies, vectors, revision))
            await self._client.upsert(index.name, rows, **_NO_RETRIES)
        return revision

    async def delete(self, index: str, movie_ids: Sequence[int]) -> None:
        """Delete movies."""
        async with self._translating_errors(index):
            await self._client.delete(index, ids=list(movie_ids), **_NO_RETRIES)

    async def renew_edition(self, index: str) -> None:
        """Give an index an edition that no index ever had."""
        edition = schema.edition_property(secrets.token_hex(8))
        async with self._translating_errors(index):
            await self._client.alter_collection_properties(index, properties=edition, **_NO_RETRIES)

    async def count(self, index: str) -> int:
        """Return how many movies a loaded index holds, all earlier writes included.

        Milvus has to catch up with the newest write first, which takes it up to 0.2 s; a later
        read without this guarantee sees as much.
        """
        async with self._translating_errors(index):
            rows = await self._client.query(
                index, output_fields=["count(*)"], consistency_level="Strong", **_NO_RETRIES
            )
            return int(rows[0]["count(*)"])

    async def movies(self, index: IndexSpec, movie_ids: Collection[int]) -> list[IndexedMovie]:
        """Return those of the movies that a loaded index has, in no order."""
        rows = await self._query(index.name, ids_in(movie_ids), schema.MOVIE_FIELDS)
        return [schema.movie(index, row) for row in rows]

    async def page(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """Return the first movies of a loaded index with an id above `after`, ascending by id."""
        rows = await self._page(index.name, ids_above(after), schema.MOVIE_FIELDS, limit)
        return [schema.movie(index, row) for row in rows]

    async def stored_movies(
        self, index: IndexSpec, movie_ids: Collection[int]
    ) -> list[schema.StoredMovie]:
        """Return those of the movies that a loaded index has with all that it has of them."""
        rows = await self._query(
            index.name,
            ids_in(movie_ids),
            schema.STORED_FIELDS,
            strict_float32=True,  # arrays are cheaper than lists
        )
        return [schema.stored_movie(index, row) for row in rows]

    async def revisions(self, index: str, since: int, after: int, limit: int) -> dict[int, int]:
        """Return the first revisions from `since` on, by movie id, of the ids above `after`."""
        expression = f"{ids_above(after)} and {revised_since(since)}"
        rows = await self._page(index, expression, [schema.ID, schema.REVISION], limit)
        return {row[schema.ID]: row[schema.REVISION] for row in rows}

    async def search(
        self,
        index: str,
        index_type: IndexType,
        vectors: NDArray[np.float32],
        expression: str,
        limit: int,
    ) -> list[tuple[Sequence[int], Sequence[float]]]:
        """Return for each row of vectors the ids and scores of the nearest movies, best first."""
        request = milvus_messages.search_request(
            index,
            schema.VECTOR,
            vectors,
            metric=METRIC,
            params={"ef": max(limit, HNSW_LEAST_EF)} if index_type == "HNSW" else {},
            expression=expression,
            limit=limit,
        )
        async with self._translating_errors(index):
            # Not pymilvus's public interface, but its connection has the token, TLS and database.
            connection = await self._client._get_connection()
            response = await connection._async_stub.Search(request)
            return milvus_messages.hits(response)

    async def _page(
        self, index: str, expression: str, fields: list[str], limit: int
    ) -> list[schema.Row]:
        # Milvus Lite takes any that many, unless the query says that it is an iterator's.
        page = await self._query(index, expression, fields, limit=limit, iterator="True")
        return sorted(page, key=itemgetter(schema.ID))

    async def _query(
        self, index: str, expression: str, fields: list[str], **options: Any
    ) -> list[schema.Row]:
        async with self._translating_errors(index):
            answer = self._client.query(
                index,
                filter=expression,
                output_fields=list(fields),
                consistency_level="Bounded",
                **options,
                **_NO_RETRIES,
            )
            return list(await answer)

    def _translating_errors(
        self, index: str = "", *, patient: bool = False
    ) -> AbstractAsyncContextManager[None]:
        return translating_errors(index, timeout=None if patient else self._timeout)
