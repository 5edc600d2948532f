"""What every VectorIndex does with the movies that a query names."""

from __future__ import annotations

import numpy as np
from tests.contract.conftest import build, put_in_memory
from tests.fixtures.movies import MODEL, id_array, unit_vectors

from search_service.index.query import Filter, Query
from search_service.index.vector_index import VectorIndex, Vectors


async def test_exclusions_are_exact_and_each_rows_own(index: VectorIndex) -> None:
    made = await build(index)
    await put_in_memory(index, made)
    vectors = Vectors(np.repeat(unit_vectors(1, seed=8).values, 3, axis=0), MODEL)
    (ranked,) = await index.search(made, unit_vectors(1, seed=8), [Query(200)])
    ids = [hit.movie.movie_id for hit in ranked]
    first = id_array(ids[:150])
    queries = [
        Query(10, excluded=first),
        Query(10),
        Query(2, excluded=id_array([ids[1], 10**12])),
    ]
    found = await index.search(made, vectors, queries)
    assert [[hit.movie.movie_id for hit in hits] for hits in found] == [
        ids[150:160],
        ids[:10],
        [ids[0], ids[2]],
    ]


async def test_ten_thousand_exclusions_are_exact_and_cost_the_other_queries_nothing_they_find(
    index: VectorIndex,
) -> None:
    made = await build(index)
    await put_in_memory(index, made)
    vectors = Vectors(np.repeat(unit_vectors(1, seed=8).values, 4, axis=0), MODEL)
    (ranked,) = await index.search(made, unit_vectors(1, seed=8), [Query(200)])
    ids = [hit.movie.movie_id for hit in ranked]
    many = range(10**6, 10**6 + 9_900)
    queries = [
        Query(10, excluded=id_array([*ids[::2], *many])),
        Query(10),
        Query(1000, Filter(movie_ids=frozenset(ids[:5])), id_array([*ids[1:100], *many])),
        Query(1000, excluded=id_array([*ids, *many[:9_800]])),
    ]
    found = await index.search(made, vectors, queries)
    assert [[hit.movie.movie_id for hit in hits] for hits in found] == [
        ids[1:20:2],
        ids[:10],
        ids[:1],
        [],
    ]


async def test_only_candidates_are_found_if_they_match_the_rest_of_the_query(
    index: VectorIndex,
) -> None:
    made = await build(index)
    await put_in_memory(index, made)
    vectors = Vectors(np.repeat(unit_vectors(1, seed=8).values, 5, axis=0), MODEL)
    (ranked,) = await index.search(made, unit_vectors(1, seed=8), [Query(200)])
    ids = [hit.movie.movie_id for hit in ranked]
    new = [hit.movie.movie_id for hit in ranked if hit.movie.year >= 1994]
    candidates = frozenset(ids[5::3]) | {10**12}
    only = Filter(movie_ids=candidates)
    queries = [
        Query(1000, only),
        Query(10),
        Query(3, only, excluded=id_array(ids[5:8])),
        Query(1000, Filter(min_year=1994, movie_ids=candidates)),
        Query(10, Filter(movie_ids=frozenset({10**12}))),
    ]
    found = await index.search(made, vectors, queries)
    assert [[hit.movie.movie_id for hit in hits] for hits in found] == [
        ids[5::3],
        ids[:10],
        ids[8:15:3],
        [i for i in new if i in candidates],
        [],
    ]
