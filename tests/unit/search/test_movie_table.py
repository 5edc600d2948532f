"""The in-memory engine against the plainest way of saying the same."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, catalogue, id_array, spec, unit_vectors

from search_service.index.query import Filter, Query
from search_service.index.vector_index import IndexedMovie, Vectors
from search_service.resident.movie_table import FEWEST_FINDER_LOOKUPS, MovieTable

YEARS = st.none() | st.integers(1949, 2001)
FILTERS = st.builds(
    Filter, genres=st.lists(st.sampled_from(GENRES)).map(tuple), min_year=YEARS, max_year=YEARS
)
EXCLUDED = st.frozensets(st.integers(1, 200), max_size=80) | st.just(
    frozenset(range(2, 2 * FEWEST_FINDER_LOOKUPS))  # looked up in another way
)
QUERIES = st.builds(
    Query,
    top_k=st.integers(1, 80),
    filter=FILTERS,
    excluded=EXCLUDED.map(id_array),
)


def matches(movie: IndexedMovie, query: Query) -> bool:
    """Tell whether a query may find a movie, in the words of the contract."""
    wanted = query.filter
    return (
        movie.movie_id not in query.excluded
        and (not wanted.genres or bool(set(wanted.genres) & set(movie.genres)))
        and (wanted.min_year is None or movie.year >= wanted.min_year)
        and (wanted.max_year is None or 0 < movie.year <= wanted.max_year)
    )


@given(st.lists(QUERIES, min_size=1, max_size=4), st.integers(0, 1000))
def test_search_is_sorting_what_matches(queries: list[Query], seed: int) -> None:
    movies, vectors = catalogue(60)
    vectors.values[::2] = vectors.values[0]  # so that there are ties
    table = MovieTable(spec())
    table.upsert(movies, vectors)
    asked = unit_vectors(len(queries), seed)
    scores = asked.values @ vectors.values.T
    for row, hits in enumerate(table.search(asked, queries)):
        ranked = sorted(
            (-float(score), movie.movie_id)
            for score, movie in zip(scores[row], movies, strict=True)
            if matches(movie, queries[row])
        )
        found = [(-hit.similarity, hit.movie.movie_id) for hit in hits]
        assert [i for _, i in found] == [i for _, i in ranked[: queries[row].top_k]]
        np.testing.assert_allclose(
            [score for score, _ in found], [score for score, _ in ranked[: len(found)]], atol=1e-6
        )


class Writes(RuleBasedStateMachine):
    """Any sequence of writes leaves what a dictionary would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.table = MovieTable(spec())
        self.expected: dict[int, tuple[IndexedMovie, float]] = {}

    @rule(
        ids=st.lists(st.integers(1, 12), unique=True),
        genres=st.sets(st.sampled_from(GENRES)),
        year=st.sampled_from([0, 1950, 2000]),
        size=st.integers(1, 9),
    )
    def upsert(self, ids: list[int], genres: set[str], year: int, size: int) -> None:
        names = tuple(genre for genre in GENRES if genre in genres)
        movies = [IndexedMovie(i, f"{i} of {size}", year, names) for i in ids]
        self.table.upsert(movies, Vectors(np.full((len(ids), DIMENSION), size, np.float32), MODEL))
        self.expected |= {movie.movie_id: (movie, float(size)) for movie in movies}

    @rule(ids=st.lists(st.integers(1, 14)))
    def delete(self, ids: list[int]) -> None:
        self.table.delete(ids)
        for i in ids:
            self.expected.pop(i, None)

    @invariant()
    def holds_what_was_written(self) -> None:
        one = np.zeros((1, DIMENSION), np.float32)
        one[0, 0] = 1
        (hits,) = self.table.search(Vectors(one, MODEL), [Query(20)])
        assert len(self.table) == len(self.expected)
        assert {h.movie.movie_id: (h.movie, h.similarity) for h in hits} == self.expected
        drama = Query(20, Filter(("Drama",), max_year=1950))
        (found,) = self.table.search(Vectors(one, MODEL), [drama])
        assert {h.movie for h in found} == {
            m for m, _ in self.expected.values() if matches(m, drama)
        }


TestWrites = Writes.TestCase
TestWrites.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
