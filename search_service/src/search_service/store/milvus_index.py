"""The VectorIndex over Milvus: each index is a collection, and an alias marks the active one.

Consistency: every read that this process begins after a write returns sees the write. Another
process on the same Milvus sees a write within Milvus's bounded staleness (5 s, usually 0.2 s) and
an activation within a second. It sees a changed title, year or genre in the hits of the active
index within another two seconds (search_service.store.active_index_watcher), in those of other
indexes within the `max_age` of MovieCache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from rpckit.finishing import finish
from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import (
    CountMismatchError,
    IndexActiveError,
    IndexExistsError,
    IndexNotFoundError,
    OtherSuiteError,
    StoreUnavailableError,
)
from search_service.index.query_groups import (
    group_by_filter,
    select_hits,
    shared_limit,
    split_by_demand,
)
from search_service.index.vector_index import (
    Activation,
    Hit,
    Hits,
    IndexedMovie,
    IndexInfo,
    IndexSpec,
    Query,
    Vectors,
)
from search_service.store.active_index_watcher import ActiveIndexObserver, ActiveIndexWatcher
from search_service.store.collection_loader import CollectionLoader
from search_service.store.filter_expressions import filter_expression
from search_service.store.index_types import IndexType
from search_service.store.index_writer import IndexWriter
from search_service.store.milvus_client import Milvus
from search_service.store.movie_cache import MovieCache

Result = TypeVar("Result")


class MilvusIndex(ActiveIndexObserver):
    """Implements search_service.index.vector_index.VectorIndex."""

    def __init__(
        self,
        milvus: Milvus,
        watcher: ActiveIndexWatcher,
        loader: CollectionLoader,
        cache: MovieCache,
        telemetry: Telemetry,
    ) -> None:
        """Observe `watcher`, which must be running before the first call.

        Args:
            milvus: The client to use.
            watcher: Knows the active index.
            loader: Loads collections.
            cache: Titles, years and genres.
            telemetry: Records search times and the active index.
        """
        self._milvus = milvus
        self._watcher = watcher
        self._loader = loader
        self._cache = cache
        self._telemetry = telemetry
        self._stage = telemetry.stage("milvus_search")
        self._specs: dict[str, IndexSpec] = {}
        self._current_specs: set[str] = set()  # names whose spec was read since the last poll began
        self._writer = IndexWriter(milvus)
        watcher.subscribe(self)

    def poll_started(self) -> None:
        """Read specs anew: another process may have replaced an index by one of the same name."""
        self._current_specs.clear()

    def active_index_changed(self, index: IndexSpec, movies: int) -> None:
        """Publish the active index."""
        self._remember(index)
        self._publish(index, movies)

    def active_index_written(self, index: IndexSpec) -> None:
        """Drop the cached movies."""
        self._cache.forget(index.name)

    async def resolve(self, name: str) -> IndexSpec:
        """See VectorIndex."""
        if not name:
            return self._watcher.active()
        if name not in self._current_specs:
            self._watcher.require_store()
            spec = await self._milvus.spec(name)
            if spec.name != name:  # Milvus knows it as an alias
                raise IndexNotFoundError.of(name)
            self._remember(spec)
            self._current_specs.add(name)
        return self._specs[name]

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """See VectorIndex."""
        index.check_vectors(vectors)
        groups = [
            (filter_expression(wanted, index), part)
            for wanted, rows in group_by_filter(queries).items()
            for part in split_by_demand(queries, rows)
        ]
        found: list[list[tuple[int, float]]] = [[] for _ in queries]
        async with self._loaded(index) as index_type:
            with self._stage.measure():
                for expression, rows in groups:
                    wanted = [queries[row] for row in rows]
                    values = vectors.values[rows] if len(groups) > 1 else vectors.values
                    answers = await self._milvus.search(
                        index.name, index_type, values, expression, shared_limit(wanted)
                    )
                    for row, query, (ids, scores) in zip(rows, wanted, answers, strict=True):
                        found[row] = select_hits(ids, scores, query)
            movies = await self._metadata(index, (i for hits in found for i, _ in hits))
        return [
            # A movie that was deleted after the search has no metadata any more.
            [Hit(movies[movie_id], score) for movie_id, score in hits if movie_id in movies]
            for hits in found
        ]

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """See VectorIndex."""
        async with self._loaded(index):
            return await self._metadata(index, movie_ids)

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """See VectorIndex."""
        async with self._loaded(index):
            return await self._milvus.page(index, after, limit)

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        self._watcher.require_store()
        async with self._writer.lock(spec.name):
            if spec.name in await self._milvus.collection_names():
                raise IndexExistsError.of(spec.name)
            await finish(self._milvus.create(spec))
            self._forget(spec.name)  # another index may have had this name
        return IndexInfo(spec, movie_count=0, active=False, engine="milvus")

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> None:
        """See VectorIndex."""
        await self.write(index, movies, vectors)

    async def write(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> int:
        """Upsert as `upsert` does; return the revision of the movies."""
        index.check_vectors(vectors)
        for number, movie in enumerate(movies):
            index.check_genres(movie.genres, f"movies[{number}].genres")
        movie_ids = [movie.movie_id for movie in movies]
        upsert = partial(self._milvus.upsert, index, movies, vectors.values)
        return await self._write(index, movie_ids, upsert)

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """See VectorIndex."""
        delete = partial(self._milvus.delete, index.name, movie_ids)
        await self._write(index, movie_ids, delete)

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """See VectorIndex."""
        self._watcher.require_store()
        async with self._writer.lock(index.name):
            index = await self._milvus.spec(index.name)
            self._remember(index)
            async with self._loaded(index) as index_type:
                count = await self._milvus.count(index.name)
                if count == 0 or expected not in (None, count):
                    raise CountMismatchError.of(index.name, expected=expected, actual=count)
                await self._writer.flush(index.name)
                previous = await self._watcher.active_in_store()
                if previous != index.name:
                    index_type = await self._loader.reindex(index.name, count)
                await self._watcher.activate(index, count)
        return Activation(_info(index, count, index_type, active=True), previous)

    async def list_indexes(self) -> list[IndexInfo]:
        """See VectorIndex."""
        self._watcher.require_store()
        infos, active = [], None
        with suppress(OtherSuiteError):
            active = await self._watcher.active_in_store()
        for name in sorted(await self._milvus.collection_names()):
            try:
                spec = await self._milvus.spec(name)
                index_type, count = await self._loader.inspect(name)
            except (IndexNotFoundError, OtherSuiteError):  # not ours, or deleted meanwhile
                continue
            infos.append(_info(spec, count, index_type, active=name == active))
        return infos

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """See VectorIndex."""
        async with self._loaded(index) as index_type:
            count = await self._milvus.count(index.name)
        return _info(index, count, index_type, active=self._watcher.is_active(index))

    async def drop(self, index: IndexSpec) -> None:
        """See VectorIndex."""
        self._watcher.require_store()
        async with self._writer.lock(index.name):
            with suppress(OtherSuiteError):  # then this index is not the active one
                if await self._watcher.active_in_store() == index.name:
                    raise IndexActiveError.of(index.name)
            await self._milvus.spec(index.name)  # fails if it is missing; drop_collection does not
            await self._writer.drop(index.name)
            self._forget(index.name)

    def require_store(self) -> None:
        """See ActiveIndexWatcher."""
        self._watcher.require_store()

    async def check_store(self) -> None:
        """See VectorIndex."""
        self._watcher.check_store()

    async def check_active(self) -> None:
        """See VectorIndex."""
        self._watcher.check_active()

    async def _metadata(
        self, index: IndexSpec, movie_ids: Iterable[int]
    ) -> dict[int, IndexedMovie]:
        async def read(missing: Collection[int]) -> dict[int, IndexedMovie]:
            movies = await self._milvus.movies(index, missing)
            return {movie.movie_id: movie for movie in movies}

        writes_noticed = self._watcher.notices_writes(index)
        return await self._cache.get(index.name, movie_ids, read, writes_noticed=writes_noticed)

    @asynccontextmanager
    async def _loaded(self, index: IndexSpec) -> AsyncIterator[IndexType]:
        """Load an index; yield its index type."""
        self._watcher.require_store()
        try:
            yield await self._loader.ensure_loaded(index.name)
        except (IndexNotFoundError, StoreUnavailableError):
            # Another process may have deleted the index, or replaced it by one of the same name.
            self._forget(index.name)
            raise

    async def _write(
        self, index: IndexSpec, movie_ids: Sequence[int], write: Callable[[], Awaitable[Result]]
    ) -> Result:
        """Run one write at a time on an index, and return once every later read sees it."""
        self._watcher.require_store()
        async with self._writer.lock(index.name):
            try:
                result = await self._writer.write(index.name, write)
                movies = await self._loader.count_if_loaded(index.name)
                if movies is not None and self._watcher.is_active(index):
                    self._publish(index, movies)
                return result
            finally:
                self._cache.invalidate(index.name, movie_ids)

    def _publish(self, active: IndexSpec, movies: int) -> None:
        self._telemetry.index(name=active.name, model_version=active.model_version, movies=movies)

    def _remember(self, spec: IndexSpec) -> None:
        if not self._specs.get(spec.name, spec).is_same(spec):
            self._forget(spec.name)  # another process replaced it by one of the same name
        self._specs[spec.name] = spec

    def _forget(self, name: str) -> None:
        self._loader.forget(name)
        self._cache.forget(name)
        self._specs.pop(name, None)
        self._current_specs.discard(name)


def _info(index: IndexSpec, count: int, kind: IndexType | None, *, active: bool) -> IndexInfo:
    engine = f"milvus {kind}" if kind else "milvus"
    return IndexInfo(index, count, active, engine)
