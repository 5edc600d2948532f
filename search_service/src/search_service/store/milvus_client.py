"""Client of Milvus: what is done to the movies in its collections, and to the collections."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_service.index.vector_index import METRIC, IndexedMovie, IndexSpec
from search_service.store import collection_schema as schema
from search_service.store import milvus_messages
from search_service.store.filter_expressions import ids_above, ids_in
from search_service.store.index_types import IndexType, search_params
from search_service.store.milvus_collections import NO_RETRIES, MilvusCollections


class Milvus(MilvusCollections):
    """A connection to Milvus. Every method may raise StoreUnavailableError."""

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: NDArray[np.float32]
    ) -> int:
        """Upsert movies with one vector each; return their new, random revision."""
        revision = secrets.randbits(63)
        async with self._translating_errors(index.name):
            rows = schema.rows(index, movies, vectors, revision)
            await self._client.upsert(index.name, list(rows), **NO_RETRIES)
        return revision

    async def delete(self, index: str, movie_ids: Sequence[int]) -> None:
        """Delete movies."""
        async with self._translating_errors(index):
            await self._client.delete(index, ids=list(movie_ids), **NO_RETRIES)

    async def count(self, index: str) -> int:
        """Return the number of movies in a loaded index, all earlier writes included.

        Its consistency level is Strong: Milvus first catches up with the latest write, which takes
        up to 0.2 s. Later reads of any level see those writes, too.
        """
        async with self._translating_errors(index):
            rows = await self._client.query(
                index, output_fields=["count(*)"], consistency_level="Strong", **NO_RETRIES
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

    async def revisions(
        self, index: str, after: int, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids of a page of movies, ascending, and their revisions.

        Args:
            index: Name of a loaded index.
            after: Ids of the page are above this one.
            limit: Number of movies in the page, the ones with the lowest ids.
        """
        request = milvus_messages.query_request(
            index, [schema.ID, schema.REVISION], expression=ids_above(after), limit=limit
        )
        async with self._translating_errors(index):
            stub = await self._stub(request)
            columns = milvus_messages.integers(await stub.Query(request))
        ids, revisions = columns[schema.ID], columns[schema.REVISION]
        order = np.argsort(ids)
        return ids[order], revisions[order]

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
            stub = await self._stub(request)
            return milvus_messages.hits(await stub.Search(request))

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
                **NO_RETRIES,
            )
            return list(await answer)
