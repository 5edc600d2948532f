"""Client of Milvus with the operations that this service needs."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from operator import itemgetter
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType, MilvusException

from search_service.index.errors import IndexNotFoundError, OtherSuiteError, StoreUnavailableError
from search_service.index.vector_index import METRIC, IndexedMovie, IndexSpec
from search_service.store import collection_schema as schema
from search_service.store import milvus_messages
from search_service.store.filter_expressions import ids_above, ids_in, revised_since
from search_service.store.index_types import IndexType, build_params, search_params
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_connection import open_client
from search_service.store.milvus_errors import (
    is_alias_not_found,
    translating_errors,
)

_NO_RETRIES: dict[str, Any] = {"retry_times": 0}
"""pymilvus retries 75 times by default; here failing fast within the timeout matters more."""


class Milvus:
    """A connection to Milvus. Every method may raise StoreUnavailableError."""

    def __init__(self, client: AsyncMilvusClient, timeout: float, suite: str) -> None:
        """Use a pymilvus client of the running loop; see `connect`."""
        self._client = client
        self._timeout = timeout
        self._suite = suite
        self._revision = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, address: MilvusAddress, timeout: float, *, suite: str = schema.DEFAULT_SUITE
    ) -> AsyncIterator[Self]:
        """Yield a client; Milvus need not be reachable.

        Args:
            address: How to reach Milvus.
            timeout: Longest duration of a read, a write or a connection attempt, in seconds.
            suite: The indexes of other suites are refused.

        Raises:
            StartupError: A TLS file is missing or invalid.
        """
        async with open_client(address, timeout) as client:
            yield cls(client, timeout, suite)

    async def set_alias(self, alias: str, index: str) -> None:
        """Point an alias at an index, atomically."""
        async with self._translating_errors(index):
            try:
                await self._client.alter_alias(index, alias, **_NO_RETRIES)
            except MilvusException as error:
                if not is_alias_not_found(error):
                    raise
                try:
                    await self._client.create_alias(index, alias, **_NO_RETRIES)
                except MilvusException:  # perhaps another activation has just created it
                    await self._client.alter_alias(index, alias, **_NO_RETRIES)

    async def collection_names(self) -> list[str]:
        """Return the names of all collections, including those that are no indexes."""
        async with self._translating_errors():
            return list(await self._client.list_collections(**_NO_RETRIES))

    async def spec(self, name: str) -> IndexSpec:
        """Return the spec of the index with this name or alias; see `spec_and_edition`."""
        return (await self.spec_and_edition(name))[0]

    async def spec_and_edition(self, name: str) -> tuple[IndexSpec, str]:
        """Return the spec and the edition of the index with this name or alias.

        Raises:
            IndexNotFoundError: There is none, or this service did not create the collection.
            OtherSuiteError: It belongs to another suite.
        """
        async with self._translating_errors(name):
            answer = await self._client.describe_collection(name, **_NO_RETRIES)
        spec = schema.spec(answer)
        if spec is None:
            raise IndexNotFoundError.of(name)
        if (suite := schema.suite(answer)) != self._suite:
            raise OtherSuiteError.of(spec.name, suite=suite)
        return spec, schema.edition(answer)

    async def create(self, spec: IndexSpec) -> None:
        """Create an empty collection, neither indexed nor loaded."""
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
                properties=schema.properties(spec, self._suite),
                consistency_level="Bounded",
                **_NO_RETRIES,
            )

    async def drop(self, name: str) -> None:
        """Delete a collection."""
        async with self._translating_errors(name):
            await self._client.drop_collection(name, **_NO_RETRIES)

    async def index_type(self, name: str) -> IndexType | None:
        """Return the index type of a collection. None: it has no index yet."""
        async with self._translating_errors(name):
            if not await self._client.list_indexes(name, **_NO_RETRIES):
                return None
            answer = await self._client.describe_index(name, schema.VECTOR, **_NO_RETRIES)
        if answer["metric_type"] != METRIC:
            raise StoreUnavailableError(f"index {name!r} has metric {answer['metric_type']}")
        return "HNSW" if answer["index_type"] == "HNSW" else "FLAT"

    async def build_index(self, name: str, index_type: IndexType, *, replace: bool) -> None:
        """Build a collection's vector index and wait for it, which takes minutes for a large graph.

        Args:
            name: Name of the collection.
            index_type: Type of index to build.
            replace: Whether to release the collection and drop its present index first.
        """
        params = self._client.prepare_index_params()
        params.add_index(
            schema.VECTOR,
            index_type=index_type,
            index_name=schema.VECTOR,
            metric_type=METRIC,
            params=build_params(index_type),
        )
        async with self._translating_errors(name, patient=True):
            if replace:
                await self._client.release_collection(name, **_NO_RETRIES)
                await self._client.drop_index(name, schema.VECTOR, **_NO_RETRIES)
            try:
                await self._client.create_index(name, params, **_NO_RETRIES)
            except grpc.RpcError as error:
                # Milvus Lite builds the index at once but lacks the call that waits for it.
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise

    async def load(self, name: str) -> None:
        """Load a collection into memory, if it is not loaded."""
        async with self._translating_errors(name, patient=True):
            await self._client.load_collection(name, **_NO_RETRIES)

    async def is_loaded(self, name: str) -> bool:
        """Return whether a collection is loaded."""
        async with self._translating_errors(name):
            answer = await self._client.get_load_state(name, **_NO_RETRIES)
            return str(answer["state"]) == "Loaded"

    async def row_count(self, name: str) -> int:
        """Return the number of rows on disk: without the latest, with some that were replaced."""
        async with self._translating_errors(name):
            return int((await self._client.get_collection_stats(name, **_NO_RETRIES))["row_count"])

    async def flush(self, name: str) -> None:
        """Seal and persist a collection's growing segments, so that they get indexed."""
        async with self._translating_errors(name, patient=True):
            await self._client.flush(name, timeout=60)

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: NDArray[np.float32]
    ) -> int:
        """Upsert movies with one vector each; return their revision."""
        self._revision = revision = max(self._revision + 1, time.time_ns())
        async with self._translating_errors(index.name):
            rows = schema.rows(index, movies, vectors, revision)
            await self._client.upsert(index.name, list(rows), **_NO_RETRIES)
        return revision

    async def delete(self, index: str, movie_ids: Sequence[int]) -> None:
        """Delete movies."""
        async with self._translating_errors(index):
            await self._client.delete(index, ids=list(movie_ids), **_NO_RETRIES)

    async def renew_edition(self, index: str) -> None:
        """Set a new, random edition of an index."""
        edition = schema.edition_property(secrets.token_hex(8))
        async with self._translating_errors(index):
            await self._client.alter_collection_properties(index, properties=edition, **_NO_RETRIES)

    async def count(self, index: str) -> int:
        """Return the number of movies in a loaded index, all earlier writes included.

        Its consistency level is Strong: Milvus first catches up with the latest write, which takes
        up to 0.2 s. Later reads of any level see those writes, too.
        """
        async with self._translating_errors(index):
            rows = await self._client.query(
                index, output_fields=["count(*)"], consistency_level="Strong", **_NO_RETRIES
            )
            return int(rows[0]["count(*)"])

    async def movies(self, index: IndexSpec, movie_ids: Collection[int]) -> list[IndexedMovie]:
        """Return the movies with these ids in a loaded index, unordered."""
        rows = await self._query(index.name, ids_in(movie_ids), schema.MOVIE_FIELDS)
        return [schema.movie(index, row) for row in rows]

    async def page(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """Return the first `limit` movies of a loaded index with an id above `after`, by id."""
        rows = await self._page(index.name, ids_above(after), schema.MOVIE_FIELDS, limit)
        return [schema.movie(index, row) for row in rows]

    async def stored_movies(
        self, index: IndexSpec, movie_ids: Collection[int]
    ) -> list[schema.StoredMovie]:
        """Return the movies with these ids in a loaded index, with vectors and revisions."""
        rows = await self._query(
            index.name,
            ids_in(movie_ids),
            schema.STORED_FIELDS,
            strict_float32=True,  # arrays are cheaper than lists
        )
        return [schema.stored_movie(index, row) for row in rows]

    async def revisions(self, index: str, since: int, after: int, limit: int) -> dict[int, int]:
        """Return a page of the revisions from `since` on, by movie id.

        Args:
            index: Name of a loaded index.
            since: Earliest revision.
            after: Ids of the page are above this one.
            limit: Number of revisions in the page, the ones with the lowest ids.
        """
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
        """Return the ids and scores of each row's best movies, descending by score."""
        request = milvus_messages.search_request(
            index,
            schema.VECTOR,
            vectors,
            metric=METRIC,
            params=search_params(index_type, limit),
            expression=expression,
            limit=limit,
        )
        async with self._translating_errors(index):
            # Private to pymilvus, so pinned exactly: only it carries the token, TLS and database.
            connection = await self._client._get_connection()
            request.db_name = self._client._config.db_name
            response = await connection._async_stub.Search(request)
            return milvus_messages.hits(response)

    async def _page(
        self, index: str, expression: str, fields: list[str], limit: int
    ) -> list[schema.Row]:
        # Without `iterator`, Milvus Lite returns any entities instead of those with the lowest ids.
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
