"""Client of Milvus for the collection of interactions.

Reads have the consistency level Strong: they see every write that had returned when they began.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType, MilvusException

from search_service.index.errors import IndexNotFoundError, OtherSuiteError, StoreUnavailableError
from search_service.index.interactions import Interaction
from search_service.store import collection_schema, milvus_messages
from search_service.store import interaction_schema as schema
from search_service.store.milvus_collections import NO_RETRIES, MilvusCollections
from search_service.store.milvus_errors import NotLoadedError

_KEYS_TO_DELETE = 1000
"""Largest number of rows that one call deletes: Milvus parses their keys as an expression."""

Seen = tuple[NDArray[np.int64], NDArray[np.int64]]
"""User id and movie id of each of some interactions."""


class MilvusInteractions(MilvusCollections):
    """A connection to Milvus, with the interactions of this suite.

    The collection is created by the first write. Every method may raise StoreUnavailableError, and
    OtherSuiteError if another suite has its interactions in this database.
    """

    def __init__(self, client: AsyncMilvusClient, timeout: float, suite: str) -> None:
        """See MilvusCollections."""
        super().__init__(client, timeout, suite)
        self._open = False  # whether the collection existed, was of this suite, and was loaded

    async def exists(self) -> bool:
        """Return whether there is a collection; if there is one, it is loaded."""
        if self._open:
            return True
        try:
            async with self._translating_errors(schema.COLLECTION):
                answer = await self._client.describe_collection(schema.COLLECTION, **NO_RETRIES)
        except IndexNotFoundError:
            return False
        if (suite := collection_schema.suite(answer)) != self._suite:
            raise OtherSuiteError.of(schema.COLLECTION, suite=suite)
        if await self.index_type(schema.COLLECTION) is None:
            await self.build_index(schema.COLLECTION, "FLAT", replace=False)
        await self.load(schema.COLLECTION)
        self._open = True
        return True

    async def upsert(self, interactions: Iterable[Interaction], buckets: Iterable[int]) -> None:
        """Write interactions and a new mark of each of these buckets, all in one message."""
        if not await self.exists():
            await self._create_collection()
        rows = [*map(schema.row, interactions), *schema.marks(buckets)]
        await self._call(self._client.upsert(schema.COLLECTION, rows, **NO_RETRIES))

    async def delete(self, interactions: Iterable[Interaction]) -> None:
        """Delete interactions; `upsert` has to mark their buckets afterwards."""
        keys = [schema.row(interaction)[schema.KEY] for interaction in interactions]
        for start in range(0, len(keys), _KEYS_TO_DELETE):
            some = keys[start : start + _KEYS_TO_DELETE]
            await self._call(self._client.delete(schema.COLLECTION, ids=some, **NO_RETRIES))

    async def revisions(self) -> NDArray[np.int64]:
        """Return the revision of each bucket's mark; 0 where there is none."""
        columns = await self._integers(schema.ALL_MARKS, [schema.BUCKET, schema.REVISION])
        found = np.zeros(schema.BUCKETS, np.int64)
        # A sum, which changes with any of its parts, in case Milvus lists a replaced mark too.
        np.add.at(found, columns[schema.BUCKET], columns[schema.REVISION])
        return found

    async def count(self) -> int:
        """Return the number of rows."""
        answer = self._client.query(
            schema.COLLECTION,
            output_fields=["count(*)"],
            consistency_level="Strong",
            **NO_RETRIES,
        )
        return int((await self._call(answer))[0]["count(*)"])

    async def seen_in_buckets(self, buckets: Collection[int]) -> Seen:
        """Return who saw what in some buckets, with one row for each interaction."""
        return await self._seen(schema.in_buckets(buckets))

    async def seen_by(self, user_ids: Collection[int]) -> Seen:
        """Return what some users saw, with one row for each interaction."""
        return await self._seen(schema.of_users(user_ids))

    async def of_user(self, user_id: int) -> list[Interaction]:
        """Return all interactions of a user, in their order."""
        answer = self._client.query(
            schema.COLLECTION,
            filter=schema.of_users([user_id]),
            output_fields=schema.INTERACTION_FIELDS,
            consistency_level="Strong",
            **NO_RETRIES,
        )
        rows: Sequence[schema.Row] = await self._call(answer)
        return sorted(map(schema.interaction, rows), key=lambda found: found.key)

    async def _seen(self, expression: str) -> Seen:
        columns = await self._integers(expression, [schema.USER, schema.MOVIE])
        return columns[schema.USER], columns[schema.MOVIE]

    async def _integers(self, expression: str, fields: list[str]) -> dict[str, NDArray[np.int64]]:
        async def query() -> dict[str, NDArray[np.int64]]:
            request = milvus_messages.strong_query_request(
                schema.COLLECTION, fields, expression=expression
            )
            stub = await self._stub(request)
            return milvus_messages.integers(await stub.Query(request))

        empty = np.empty(0, np.int64)
        columns: dict[str, NDArray[np.int64]] = await self._call(query())
        return dict.fromkeys(fields, empty) | columns

    async def _call(self, call: Any) -> Any:
        """Await a call about interactions, whose errors say nothing about users."""
        try:
            async with self._translating_errors(schema.COLLECTION):
                try:
                    return await call
                except MilvusException as error:
                    # Its message may quote the expression, and so the ids of users.
                    raise MilvusException(error.code, "refused a call about interactions") from None
        except (IndexNotFoundError, NotLoadedError):
            self._open = False  # so that the next call creates or loads it
            missing = "Milvus has not loaded the interactions"
            raise StoreUnavailableError(missing, retry_after=1.0) from None

    async def _create_collection(self) -> None:
        fields = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        fields.add_field(
            schema.KEY, DataType.VARCHAR, is_primary=True, max_length=schema.MAX_KEY_BYTES
        )
        fields.add_field(schema.VECTOR, DataType.FLOAT_VECTOR, dim=schema.VECTOR_DIMENSION)
        for field in schema.INTEGER_FIELDS:
            fields.add_field(field, DataType.INT64)
        fields.add_field(schema.RATING, DataType.FLOAT)
        fields.add_field(
            schema.RECOMMENDATION, DataType.VARCHAR, max_length=schema.MAX_RECOMMENDATION_BYTES
        )
        async with self._translating_errors(schema.COLLECTION):
            try:
                await self._client.create_collection(
                    schema.COLLECTION,
                    schema=fields,
                    properties=collection_schema.suite_property(self._suite),
                    consistency_level="Strong",
                    **NO_RETRIES,
                )
            except MilvusException:  # perhaps another process has just created it
                if not await self.exists():
                    raise
        await self.exists()
