"""Client of Milvus: what is done to its collections."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import grpc
from pymilvus import AsyncMilvusClient, DataType, MilvusException

from search_service.index.errors import IndexNotFoundError, OtherSuiteError, StoreUnavailableError
from search_service.index.vector_index import METRIC, IndexSpec
from search_service.store import collection_schema as schema
from search_service.store.index_types import IndexType, build_params
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_connection import open_client
from search_service.store.milvus_errors import is_alias_not_found, translating_errors

NO_RETRIES: dict[str, Any] = {"retry_times": 0}
"""pymilvus retries 75 times by default; here failing fast within the timeout matters more."""


class MilvusCollections:
    """A connection to Milvus. Every method may raise StoreUnavailableError."""

    def __init__(self, client: AsyncMilvusClient, timeout: float, suite: str) -> None:
        """Use a pymilvus client of the running loop; see `connect`."""
        self._client = client
        self._timeout = timeout
        self._suite = suite

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
                await self._client.alter_alias(index, alias, **NO_RETRIES)
            except MilvusException as error:
                if not is_alias_not_found(error):
                    raise
                try:
                    await self._client.create_alias(index, alias, **NO_RETRIES)
                except MilvusException:  # perhaps another activation has just created it
                    await self._client.alter_alias(index, alias, **NO_RETRIES)

    async def collection_names(self) -> list[str]:
        """Return the names of all collections, including those that are no indexes."""
        async with self._translating_errors():
            return list(await self._client.list_collections(**NO_RETRIES))

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
            answer = await self._client.describe_collection(name, **NO_RETRIES)
        spec = schema.spec(answer)
        if spec is None:
            raise IndexNotFoundError.of(name)
        if (suite := schema.suite(answer)) != self._suite:
            raise OtherSuiteError.of(spec.name, suite=suite)
        return spec, schema.edition(answer)

    async def renew_edition(self, index: str) -> None:
        """Set a new, random edition of an index."""
        edition = schema.edition_property(secrets.token_hex(8))
        async with self._translating_errors(index):
            await self._client.alter_collection_properties(index, properties=edition, **NO_RETRIES)

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
                **NO_RETRIES,
            )

    async def drop(self, name: str) -> None:
        """Delete a collection."""
        async with self._translating_errors(name):
            await self._client.drop_collection(name, **NO_RETRIES)

    async def index_type(self, name: str) -> IndexType | None:
        """Return the index type of a collection. None: it has no index yet."""
        async with self._translating_errors(name):
            if not await self._client.list_indexes(name, **NO_RETRIES):
                return None
            answer = await self._client.describe_index(name, schema.VECTOR, **NO_RETRIES)
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
                await self._client.release_collection(name, **NO_RETRIES)
                await self._client.drop_index(name, schema.VECTOR, **NO_RETRIES)
            try:
                await self._client.create_index(name, params, **NO_RETRIES)
            except grpc.RpcError as error:
                # Milvus Lite builds the index at once but lacks the call that waits for it.
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise

    async def load(self, name: str) -> None:
        """Load a collection into memory, if it is not loaded."""
        async with self._translating_errors(name, patient=True):
            await self._client.load_collection(name, **NO_RETRIES)

    async def is_loaded(self, name: str) -> bool:
        """Return whether a collection is loaded."""
        async with self._translating_errors(name):
            answer = await self._client.get_load_state(name, **NO_RETRIES)
            return str(answer["state"]) == "Loaded"

    async def row_count(self, name: str) -> int:
        """Return the number of rows on disk: without the latest, with some that were replaced."""
        async with self._translating_errors(name):
            return int((await self._client.get_collection_stats(name, **NO_RETRIES))["row_count"])

    async def flush(self, name: str) -> None:
        """Seal and persist a collection's growing segments, so that they get indexed."""
        async with self._translating_errors(name, patient=True):
            await self._client.flush(name, timeout=60)

    async def _stub(self, request: Any) -> Any:
        """Return the stub that sends a message of `milvus_messages`, which is completed here."""
        # Private to pymilvus, so pinned exactly: only it carries the token, TLS and database.
        connection = await self._client._get_connection()
        request.db_name = self._client._config.db_name
        return connection._async_stub

    def _translating_errors(
        self, index: str = "", *, patient: bool = False
    ) -> AbstractAsyncContextManager[None]:
        return translating_errors(index, timeout=None if patient else self._timeout)
