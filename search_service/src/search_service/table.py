"""Exact inner-product search over movies held in memory: one matrix product for a batch.

Synchronous and without I/O, so that it can serve as the oracle of the contract tests
(search_service.exact) and as an engine of its own. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from search_service.grouping import by_filter
from search_service.index import Filter, Hit, Hits, IndexSpec, Movie, Query, Vectors


class MovieTable:
    """Movies and their vectors in parallel arrays, in no order, without holes."""

    def __init__(self, spec: IndexSpec) -> None:
        """Start empty."""
        self.spec = spec
        self._size = 0
        self._row: dict[int, int] = {}
        self._movies: list[Movie] = []
        self._ids = np.empty(0, np.int64)
        self._years = np.empty(0, np.int16)
        self._genres = np.empty((len(spec.genres), 0), np.bool_)
        self._vectors = np.empty((0, spec.dimension), np.float32)

    def __len__(self) -> int:
        """Return how many movies it holds."""
        return self._size

    def upsert(self, movies: Sequence[Movie], vectors: Vectors) -> None:
        """Write movies, each id once; those that exist are replaced.

        Raises:
            ModelMismatchError: The vectors are of another model than the index.
            InvalidRequestError: Wrong dimension, or a movie has an unknown genre.
        """
        self.spec.accept(vectors)
        for number, movie in enumerate(movies):
            self.spec.refuse_unknown_genres(movie.genres, f"movies[{number}].genres")
        self._reserve(self._size + len(movies))
        for movie, vector in zip(movies, vectors.values, strict=True):
            row = self._row.setdefault(movie.movie_id, self._size)
            if row == self._size:
                self._size += 1
                self._movies.append(movie)
            self._movies[row] = movie
            self._ids[row] = movie.movie_id
            self._years[row] = movie.year
            self._genres[:, row] = False
            self._genres[[self.spec.positions[genre] for genre in movie.genres], row] = True
            self._vectors[row] = vector

    def delete(self, movie_ids: Iterable[int]) -> None:
        """Delete movies; ids that are not there are ignored."""
        for movie_id in movie_ids:
            hole = self._row.pop(movie_id, None)
            if hole is None:
                continue
            last = self._size = self._size - 1
            movie = self._movies.pop()
            if hole != last:
                self._row[movie.movie_id] = hole
                self._movies[hole] = movie
                self._ids[hole] = self._ids[last]
                self._years[hole] = self._years[last]
                self._genres[:, hole] = self._genres[:, last]
                self._vectors[hole] = self._vectors[last]

    def get(self, movie_ids: Iterable[int]) -> dict[int, Movie]:
        """Return those of the movies that it has, by id."""
        return {i: self._movies[self._row[i]] for i in movie_ids if i in self._row}

    def page(self, after: int, limit: int) -> list[Movie]:
        """Return the first movies with an id above `after`, ascending by id."""
        return [self._movies[self._row[i]] for i in sorted(self._row) if i > after][:limit]

    def search(self, vectors: Vectors, queries: Sequence[Query]) -> list[Hits]:
        """Find the movies with the largest inner product for each row of vectors.

        Raises:
            ModelMismatchError: The vectors are of another model than the index.
            InvalidRequestError: Wrong dimension, or a filter names an unknown genre.
        """
        self.spec.accept(vectors)
        results: list[Hits] = [[] for _ in queries]
        scores = vectors.values @ self._vectors[: self._size].T
        for wanted, rows in by_filter(queries).items():
            matching = self._matching(wanted)
            for row in rows:
                results[row] = self._best(scores[row], matching, queries[row])
        return results

    def _matching(self, wanted: Filter) -> NDArray[np.int64] | None:
        """Return the rows that a filter lets through; None for all."""
        self.spec.refuse_unknown_genres(wanted.genres, "filter.genres")
        mask = np.ones(self._size, np.bool_)
        years = self._years[: self._size]
        if wanted.genres:
            positions = [self.spec.positions[genre] for genre in wanted.genres]
            mask &= self._genres[positions, : self._size].any(axis=0)
        if wanted.min_year is not None:
            mask &= years >= wanted.min_year
        if wanted.max_year is not None:
            mask &= (years <= wanted.max_year) & (years > 0)
        return None if mask.all() else np.flatnonzero(mask)

    def _best(
        self, scores: NDArray[np.float32], matching: NDArray[np.int64] | None, query: Query
    ) -> Hits:
        excluded = [self._row[i] for i in query.excluded if i in self._row]
        if excluded:
            scores[excluded] = -np.inf  # the row of scores is this query's own
        candidates = scores if matching is None else scores[matching]
        if query.top_k < len(candidates):
            cut = len(candidates) - query.top_k
            # All that reach the last place are kept, so that ids decide ties there, too.
            top = np.flatnonzero(candidates >= np.partition(candidates, cut)[cut])
        else:
            top = np.arange(len(candidates))
        rows = top if matching is None else matching[top]
        rows = rows[scores[rows] > -np.inf]
        rows = rows[np.lexsort((self._ids[rows], -scores[rows]))][: query.top_k]
        movies = self._movies
        return [
            Hit(movies[row], score)
            for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)
        ]

    def _reserve(self, capacity: int) -> None:
        """Make room for as many rows, at least doubling, so that a row costs O(1) to add."""
        old = len(self._ids)
        if capacity <= old:
            return
        more = max(capacity, 2 * old) - old
        self._ids = np.concatenate((self._ids, np.zeros(more, np.int64)))
        self._years = np.concatenate((self._years, np.zeros(more, np.int16)))
        self._genres = np.pad(self._genres, ((0, 0), (0, more)))
        self._vectors = np.pad(self._vectors, ((0, more), (0, 0)))
