"""Writing and reading movies, in every VectorIndex."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.contract.conftest import build, one_vector, put_in_memory
from tests.fixtures.movies import GENRES, MODEL, catalogue, spec, unit_vectors

from search_service.index.query import Query
from search_service.index.vector_index import IndexedMovie, VectorIndex, Vectors


async def test_an_upsert_replaces_vector_and_metadata_and_is_read_at_once(
    index: VectorIndex,
) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    movie = (await index.list_movies(made, after=0, limit=1))[0]
    await index.search(made, unit_vectors(1, seed=1), [Query(20)])  # warms what may be cached
    new = replace(movie, title="Another title", year=2001, genres=("Sci-Fi",))
    await index.upsert(made, [new], one_vector([3.0]))
    (hits,) = await index.search(made, one_vector([1.0]), [Query(1)])
    assert (hits[0].movie, round(hits[0].similarity, 4)) == (new, 3.0)
    assert (await index.get(made, [new.movie_id])) == {new.movie_id: new}
    assert (await index.describe(made)).movie_count == 20


async def test_a_deleted_movie_is_gone_at_once(index: VectorIndex) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    (hits,) = await index.search(made, unit_vectors(1, seed=1), [Query(20)])
    best = hits[0].movie.movie_id
    await index.delete_movies(made, [best, 10**9])
    (left,) = await index.search(made, unit_vectors(1, seed=1), [Query(20)])
    assert [h.movie for h in left] == [h.movie for h in hits[1:]]
    assert await index.get(made, [best]) == {}
    assert (await index.describe(made)).movie_count == 19


async def test_metadata_survives_as_it_was_written(index: VectorIndex) -> None:
    made = spec()
    await index.create(made)
    movies = [
        IndexedMovie(1, "", 0, ()),
        IndexedMovie(2**62, 'Le "fabuleux" destin d\'Amélie \\ id > 0 or true', 2001, GENRES),
        IndexedMovie(7, "千と千尋の神隠し", 2200, ("Children's",)),
    ]
    await index.upsert(made, movies, unit_vectors(3, seed=0))
    await put_in_memory(index, made)
    assert await index.get(made, [1, 2**62, 7, 8]) == {m.movie_id: m for m in movies}


async def test_pages_cover_everything_once_in_order(index: VectorIndex) -> None:
    made = await build(index, size=100)
    pages: list[list[IndexedMovie]] = []
    after = 0
    while page := await index.list_movies(made, after, limit=30):
        pages.append(page)
        after = page[-1].movie_id
    assert [len(page) for page in pages] == [30, 30, 30, 10]
    assert [m for page in pages for m in page] == sorted(
        catalogue(100)[0], key=lambda movie: movie.movie_id
    )


async def test_vectors_are_read_as_they_were_written(index: VectorIndex) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    movies, vectors = catalogue(20)
    wanted = {movies[row].movie_id: vectors.values[row] for row in (3, 0, 19)}
    found = await index.vectors(made, [*wanted, 10**12])
    assert found.keys() == wanted.keys()
    for movie_id, vector in wanted.items():
        assert found[movie_id].dtype == np.float32
        np.testing.assert_array_equal(found[movie_id], vector)
    assert await index.vectors(made, []) == {}


async def test_vectors_that_were_read_do_not_change_with_a_write(index: VectorIndex) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    movies, vectors = catalogue(20)
    movie_id = movies[0].movie_id
    before = await index.vectors(made, [movie_id])
    await index.upsert(made, movies[:1], Vectors(vectors.values[1:2], MODEL))
    np.testing.assert_array_equal(before[movie_id], vectors.values[0])
    np.testing.assert_array_equal(
        (await index.vectors(made, [movie_id]))[movie_id], vectors.values[1]
    )
    await index.delete_movies(made, [movie_id])
    assert await index.vectors(made, [movie_id]) == {}
