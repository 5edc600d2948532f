"""An exact VectorIndex in memory: the oracle of the contract tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rpckit.errors import NotReadyError
from search_service.index.errors import (
    CountMismatchError,
    IndexActiveError,
    IndexExistsError,
    IndexNotFoundError,
    NoActiveIndexError,
)
from search_service.index.query import Query
from search_service.index.vector_index import (
    Activation,
    Hits,
    IndexedMovie,
    IndexInfo,
    IndexSpec,
    Vectors,
)
from search_service.resident.movie_table import MovieTable


class ExactIndex:
    """Implements search_service.index.vector_index.VectorIndex by brute force."""

    def __init__(self) -> None:
        """Start without indexes."""
        self._tables: dict[str, MovieTable] = {}
        self._active = ""

    async def resolve(self, name: str) -> IndexSpec:
        """See VectorIndex."""
        if not name and not self._active:
            raise NoActiveIndexError("no index is active")
        return self._table(name or self._active).spec

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """See VectorIndex."""
        return self._table(index.name).search(vectors, queries)

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """See VectorIndex."""
        return self._table(index.name).get(movie_ids)

    async def vectors(
        self, index: IndexSpec, movie_ids: Sequence[int]
    ) -> dict[int, NDArray[np.float32]]:
        """See VectorIndex."""
        return self._table(index.name).vectors(movie_ids)

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """See VectorIndex."""
        return self._table(index.name).page(after, limit)

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        if spec.name in self._tables:
            raise IndexExistsError.of(spec.name)
        self._tables[spec.name] = MovieTable(spec)
        return self._info(spec.name)

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> None:
        """See VectorIndex."""
        self._table(index.name).upsert(movies, vectors)

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        self._table(index.name).delete(movie_ids)

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """See VectorIndex."""
        actual = len(self._table(index.name))
        if actual == 0 or expected not in (None, actual):
            raise CountMismatchError.of(index.name, expected=expected, actual=actual)
        previous, self._active = self._active, index.name
        return Activation(self._info(index.name), previous)

    async def list_indexes(self) -> list[IndexInfo]:
        """See VectorIndex."""
        return [self._info(name) for name in sorted(self._tables)]

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        return self._info(index.name)

    async def drop(self, index: IndexSpec) -> None:
        """See VectorIndex."""
        self._table(index.name)
        if index.name == self._active:
            raise IndexActiveError.of(index.name)
        del self._tables[index.name]

    async def check_store(self) -> None:
        """See VectorIndex."""

    async def check_active(self) -> None:
        """See VectorIndex."""
        if not self._active:
            raise NotReadyError("no index is active")

    def _table(self, name: str) -> MovieTable:
        try:
            return self._tables[name]
        except KeyError:
            raise IndexNotFoundError.of(name) from None

    def _info(self, name: str) -> IndexInfo:
        table = self._table(name)
        return IndexInfo(
            spec=table.spec,
            movie_count=len(table),
            active=name == self._active,
            engine="exact numpy",
        )
