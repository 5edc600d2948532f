"""What a user has seen is left out exactly, whatever answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.contract.conftest import build, put_in_memory
from tests.fixtures.movies import MODEL, catalogue, spec, unit_vectors

from search_service.index.query import EVERYTHING, Filter, Query
from search_service.index.vector_index import VectorIndex, Vectors

SIZE = 2600
MOVIES, VECTORS = catalogue(SIZE)
IDS = np.array(sorted(movie.movie_id for movie in MOVIES), np.int64)
MANY = np.arange(10**6, 10**6 + 20_000)
"""Ids that no movie has, more than Milvus finds hits."""
TARGETS = unit_vectors(8, seed=3)


def expected(row: int, query: Query) -> list[int]:
    """Return the ids that a query finds, by looking at every movie."""
    left_out = set(query.excluded.tolist())
    scores = VECTORS.values @ TARGETS.values[row]
    found = [
        (-score, movie.movie_id)
        for movie, score in zip(MOVIES, scores.tolist(), strict=True)
        if movie.movie_id not in left_out
        and (query.filter == EVERYTHING or set(query.filter.genres) & set(movie.genres))
    ]
    return [movie_id for _, movie_id in sorted(found)[: query.top_k]]


def some(count: int, seed: int) -> NDArray[np.int64]:
    """Return ids of movies, ascending, and some that no movie has."""
    chosen = np.random.default_rng(seed).choice(IDS, count, replace=False)
    return np.unique(np.append(chosen, [4 * SIZE, 10**12, 2**63 - 1]))


def best(row: int, count: int) -> NDArray[np.int64]:
    """Return the ids of the movies that a row would find first, ascending."""
    return np.sort(np.array(expected(row, Query(count)), np.int64))


@pytest.mark.parametrize("together", [True, False])
async def test_every_query_leaves_out_what_its_user_has_seen(
    index: VectorIndex, together: bool
) -> None:
    made = await build(index, SIZE)
    await put_in_memory(index, made)
    queries = [
        Query(10, excluded=best(0, 165)),
        Query(1000, excluded=some(2314, 1)),
        Query(10, Filter(("Drama",)), excluded=some(2000, 2)),
        Query(5, excluded=best(3, 3)).excluding(best(3, 4)),
        Query(1000, excluded=IDS),
        Query(1000, excluded=some(2314, 4)).excluding(MANY),
        Query(10, Filter(("Drama",)), excluded=best(6, 20)).excluding(MANY),
        Query(5, excluded=np.empty(0, np.int64)),
    ]
    if together:
        found = await index.search(made, TARGETS, queries)
    else:
        found = [
            (await index.search(made, Vectors(TARGETS.values[[row]], MODEL), [query]))[0]
            for row, query in enumerate(queries)
        ]
    for row, (query, hits) in enumerate(zip(queries, found, strict=True)):
        assert [hit.movie.movie_id for hit in hits] == expected(row, query)


async def test_movies_that_were_written_or_deleted_later_are_left_out_or_found_too(
    index: VectorIndex,
) -> None:
    movies, vectors = catalogue(60)
    made = spec()
    await index.create(made)
    await index.upsert(made, movies[:50], Vectors(vectors.values[:50], MODEL))
    await put_in_memory(index, made)
    seen = np.sort(np.array([movie.movie_id for movie in movies[45:55]], np.int64))

    async def found() -> set[int]:
        (hits,) = await index.search(made, unit_vectors(1, 1), [Query(100, excluded=seen)])
        return {hit.movie.movie_id for hit in hits}

    ids = [movie.movie_id for movie in movies]
    assert await found() == {*ids[:45]}
    await index.upsert(made, movies[50:], Vectors(vectors.values[50:], MODEL))
    assert await found() == {*ids[:45], *ids[55:]}
    await index.delete_movies(made, ids[:10] + ids[45:50])
    assert await found() == {*ids[10:45], *ids[55:]}
