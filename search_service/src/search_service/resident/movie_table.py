"""Exact inner-product search over movies in memory: one matrix product for a batch of queries.

It is synchronous and does no I/O, so that both the oracle of the contract tests
(search_service.resident.exact_index) and the replica (search_service.resident.replica) can use it.
It is not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from search_service.index.query import EVERYTHING, Filter, Query
from search_service.index.query_groups import group_by_filter
from search_service.index.vector_index import Hit, Hits, IndexedMovie, IndexSpec, Vectors
from search_service.resident.row_finder import RowFinder

FEWEST_PRODUCT_ROWS = 4
"""Fewest rows for which a matrix product pays: OpenBLAS copies the vectors for it first."""
FEWEST_FINDER_LOOKUPS = 64
"""Fewest ids for which a RowFinder pays, which has to be made anew after a write."""


class MovieTable:
    """Movies and their vectors in parallel arrays, unordered and without gaps."""

    def __init__(self, spec: IndexSpec) -> None:
        """Start empty."""
        self.spec = spec
        self._size = 0
        self._row: dict[int, int] = {}
        self._movies: list[IndexedMovie] = []
        self._ids = np.empty(0, np.int64)
        self._years = np.empty(0, np.int16)
        self._genres = np.empty((len(spec.genres), 0), np.bool_)
        self._vectors = np.empty((0, spec.dimension), np.float32)
        self._finder: RowFinder | None = None  # of the present rows, once it was needed

    def __len__(self) -> int:
        """Return the number of movies."""
        return self._size

    def reserve(self, capacity: int) -> None:
        """Grow to at least `capacity` rows, at least doubling, so that adding a row costs O(1)."""
        old = len(self._ids)
        if capacity <= old:
            return
        more = max(capacity, 2 * old) - old
        self._ids = np.concatenate((self._ids, np.zeros(more, np.int64)))
        self._years = np.concatenate((self._years, np.zeros(more, np.int16)))
        self._genres = np.pad(self._genres, ((0, 0), (0, more)))
        self._vectors = np.pad(self._vectors, ((0, more), (0, 0)))

    def upsert(self, movies: Sequence[IndexedMovie], vectors: Vectors) -> None:
        """Insert movies with one vector each, replacing those that exist; ids must be unique.

        Raises:
            ModelMismatchError: Another model than the index's made the vectors.
            InvalidRequestError: The dimension is wrong, or a movie has an unknown genre.
        """
        self.spec.check_vectors(vectors)
        for number, movie in enumerate(movies):
            self.spec.check_genres(movie.genres, f"movies[{number}].genres")
        self.reserve(self._size + len(movies))
        for movie, vector in zip(movies, vectors.values, strict=True):
            row = self._row.setdefault(movie.movie_id, self._size)
            if row == self._size:
                self._finder = None
                self._size += 1
                self._movies.append(movie)
            self._movies[row] = movie
            self._ids[row] = movie.movie_id
            self._years[row] = movie.year
            self._genres[:, row] = False
            self._genres[[self.spec.positions[genre] for genre in movie.genres], row] = True
            self._vectors[row] = vector

    def delete(self, movie_ids: Iterable[int]) -> None:
        """Delete movies, ignoring ids that the table does not have."""
        for movie_id in movie_ids:
            hole = self._row.pop(movie_id, None)
            if hole is None:
                continue
            self._finder = None
            last = self._size = self._size - 1
            movie = self._movies.pop()
            if hole != last:
                self._row[movie.movie_id] = hole
                self._movies[hole] = movie
                self._ids[hole] = self._ids[last]
                self._years[hole] = self._years[last]
                self._genres[:, hole] = self._genres[:, last]
                self._vectors[hole] = self._vectors[last]

    def ids(self) -> NDArray[np.int64]:
        """Return the ids of all movies, ascending."""
        return np.sort(self._ids[: self._size])

    def get(self, movie_ids: Iterable[int]) -> dict[int, IndexedMovie]:
        """Return the movies with these ids that the table has, by id."""
        return {i: self._movies[self._row[i]] for i in movie_ids if i in self._row}

    def vectors(self, movie_ids: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """Return copies of the vectors of the movies with these ids that the table has, by id."""
        held = [i for i in movie_ids if i in self._row]
        return dict(zip(held, self._vectors[[self._row[i] for i in held]], strict=True))

    def page(self, after: int, limit: int) -> list[IndexedMovie]:
        """Return the first `limit` movies with an id above `after`, ascending by id."""
        return [self._movies[self._row[i]] for i in sorted(self._row) if i > after][:limit]

    def search(self, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        """Find the movies with the largest inner product for each row.

        Raises:
            ModelMismatchError: Another model than the index's made the vectors.
            InvalidRequestError: The dimension is wrong, or a filter names an unknown genre.
        """
        self.spec.check_vectors(vectors)
        results: list[Hits] = [[] for _ in queries]
        scores = _products(vectors.values, self._vectors[: self._size])
        for wanted, rows in group_by_filter(queries).items():
            group = [queries[row] for row in rows]
            matching = self._matching(wanted)
            # Work on whole matrices: a numpy call for a single row costs more than its work.
            group_scores = scores if len(rows) == len(queries) else scores[rows]
            self._exclude(group_scores, group)
            candidates = group_scores if matching is None else group_scores[:, matching]
            places = _best(candidates, max(query.top_k for query in group))
            for row, query, values, place in zip(rows, group, candidates, places, strict=True):
                found = place if matching is None else matching[place]
                results[row] = self._hits(found, values[place], query)
        return results

    def _matching(self, wanted: Filter) -> NDArray[np.int64] | None:
        """Return the rows that match a filter. None: all."""
        if wanted == EVERYTHING:
            return None
        self.spec.check_genres(wanted.genres, "filter.genres")
        mask = np.ones(self._size, np.bool_)
        years = self._years[: self._size]
        if wanted.genres:
            positions = [self.spec.positions[genre] for genre in wanted.genres]
            mask &= self._genres[positions, : self._size].any(axis=0)
        if wanted.min_year is not None:
            mask &= years >= wanted.min_year
        if wanted.max_year is not None:
            mask &= (years <= wanted.max_year) & (years > 0)
        if wanted.movie_ids is not None:
            named = np.zeros(self._size, np.bool_)
            named[[self._row[i] for i in wanted.movie_ids if i in self._row]] = True
            mask &= named
        return np.flatnonzero(mask)

    def _exclude(self, scores: NDArray[np.float32], queries: Sequence[Query]) -> None:
        """Set the scores of the movies that each query leaves out to minus infinity."""
        for row, query in zip(scores, queries, strict=True):
            if query.excluded.size:
                row[self._rows_of(query.excluded)] = -np.inf

    def _rows_of(self, movie_ids: NDArray[np.int64]) -> NDArray[np.int64] | list[int]:
        """Return the rows of the movies with these ids, given ascending, that the table has."""
        if len(movie_ids) < FEWEST_FINDER_LOOKUPS:
            return [self._row[i] for i in movie_ids.tolist() if i in self._row]
        if self._finder is None:
            self._finder = RowFinder(self._ids[: self._size])
        return self._finder.rows(movie_ids)

    def _hits(self, rows: NDArray[np.int64], scores: NDArray[np.float32], query: Query) -> Hits:
        """Return a query's hits, ordered and cut to its top k."""
        order = np.lexsort((self._ids[rows], -scores))[: query.top_k]
        movies = self._movies
        hits = zip(rows[order].tolist(), scores[order].tolist(), strict=True)
        if query.excluded.size:
            return [Hit(movies[row], score) for row, score in hits if score > -math.inf]
        return [Hit(movies[row], score) for row, score in hits]


def _products(rows: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner products of all rows with all vectors, (rows, vectors)."""
    if len(rows) < FEWEST_PRODUCT_ROWS:
        return np.stack([vectors @ row for row in rows])
    return rows @ vectors.T


def _best(scores: NDArray[np.float32], count: int) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of each row's `count` highest scores, unordered.

    Positions that tie with the last place are included, so that ids can decide those ties.
    """
    cut = scores.shape[1] - count
    if cut <= 0:
        return repeat(np.arange(scores.shape[1]), len(scores))
    lowest = np.partition(scores, cut, axis=1)[:, cut]
    return map(np.flatnonzero, scores >= lowest[:, np.newaxis])
