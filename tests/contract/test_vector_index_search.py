"""What every VectorIndex finds and refuses: exact search, Milvus Lite and a Milvus server, and the
replica in memory over each of these two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tests.contract.conftest import build, one_vector, put_in_memory
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, id_array, spec, unit_vectors

from rpckit.errors import InvalidRequestError
from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import ModelMismatchError
from search_service.index.query import Filter, Query
from search_service.index.vector_index import Hits, IndexedMovie, VectorIndex, Vectors
from search_service.open_index import open_index
from search_service.resident.exact_index import ExactIndex
from search_service.settings import SearchSettings

YEARS = st.none() | st.integers(1949, 2001)
QUERIES = st.builds(
    Query,
    top_k=st.integers(1, 250),
    filter=st.builds(
        Filter,
        genres=st.lists(st.sampled_from(GENRES)).map(tuple),
        min_year=YEARS,
        max_year=YEARS,
        movie_ids=st.none() | st.frozensets(st.integers(1, 600), max_size=250),
    ),
    excluded=st.frozensets(st.integers(1, 600), max_size=250).map(id_array),
)
Searcher = Callable[[Vectors, list[Query]], tuple[list[Hits], list[Hits]]]


@pytest.fixture
def searcher(store: SearchSettings | None) -> Iterator[Searcher]:
    """Search a catalogue in an index and in the oracle, from outside of their loop."""
    oracle = ExactIndex()
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        if store is None:
            index: VectorIndex = ExactIndex()
        else:
            runner.run(wipe(store.milvus_uri))
            opened = open_index(store, Telemetry("test"))
            index = runner.run(opened.__aenter__())
            stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        made = runner.run(build(index))
        runner.run(put_in_memory(index, made))
        runner.run(build(oracle))

        def search(vectors: Vectors, queries: list[Query]) -> tuple[list[Hits], list[Hits]]:
            found = runner.run(index.search(made, vectors, queries))
            return found, runner.run(oracle.search(made, vectors, queries))

        yield search


def assert_same(found: list[Hits], expected: list[Hits]) -> None:
    """Compare with the oracle: the same movies up to ties, the same similarities."""
    assert [len(hits) for hits in found] == [len(hits) for hits in expected]
    for got, wanted in zip(found, expected, strict=True):
        scores = [hit.similarity for hit in wanted]
        assert [hit.similarity for hit in got] == pytest.approx(scores, abs=1e-4)
        for mine, theirs in zip(got, wanted, strict=True):
            if mine.movie != theirs.movie:
                near = [h.movie for h in wanted if abs(h.similarity - mine.similarity) < 1e-5]
                last = abs(mine.similarity - scores[-1]) < 1e-5
                assert mine.movie in near or last


async def test_finds_what_exact_search_finds(index: VectorIndex) -> None:
    oracle = ExactIndex()
    made = await build(index)
    await put_in_memory(index, made)
    await build(oracle)
    vectors = unit_vectors(7, seed=5)
    queries = [
        Query(10),
        Query(1),
        Query(1000),
        Query(5, Filter(("Drama",))),
        Query(5, Filter(("Comedy", "Film-Noir"), 1960, 1995)),
        Query(20, Filter(max_year=1977), id_array(range(1, 200))),
        Query(50, Filter(min_year=1994)),
    ]
    found = await index.search(made, vectors, queries)
    assert_same(found, await oracle.search(made, vectors, queries))
    assert len(found[2]) == 200
    assert all(hits for hits in found)


async def test_hits_descend_and_ties_ascend_by_id(index: VectorIndex) -> None:
    made = spec()
    await index.create(made)
    movies = [IndexedMovie(i, "", 0, ()) for i in (9, 2, 7, 4, 1)]
    same = np.zeros((5, DIMENSION), np.float32)
    same[:, 0] = [0.5, 0.5, 1.0, 0.5, 0.25]
    await index.upsert(made, movies, Vectors(same, MODEL))
    await put_in_memory(index, made)
    (hits,) = await index.search(made, one_vector([1.0]), [Query(5)])
    assert [hit.movie.movie_id for hit in hits] == [7, 2, 4, 9, 1]
    assert [hit.similarity for hit in hits] == pytest.approx([1.0, 0.5, 0.5, 0.5, 0.25])


async def test_ancestor_2_the_score_is_the_inner_product_and_larger_is_nearer(
    index: VectorIndex,
) -> None:
    made = spec()
    await index.create(made)
    vectors = np.zeros((3, DIMENSION), np.float32)
    vectors[:, 0] = [1.0, -1.0, 0.6]
    vectors[2, 1] = 0.8
    await index.upsert(
        made, [IndexedMovie(i, "", 0, ()) for i in (1, 2, 3)], Vectors(vectors, MODEL)
    )
    await put_in_memory(index, made)
    (hits,) = await index.search(made, one_vector([1.0]), [Query(3)])
    assert [(h.movie.movie_id, round(h.similarity, 5)) for h in hits] == [
        (1, 1.0),
        (3, 0.6),
        (2, -1.0),
    ]
    assert (await index.describe(made)).spec.metric == "IP"


async def test_filters(index: VectorIndex) -> None:
    made = spec()
    await index.create(made)
    movies = [
        IndexedMovie(1, "old", 1950, ("Drama", "Film-Noir")),
        IndexedMovie(2, "between", 1990, ("Drama",)),
        IndexedMovie(3, "new", 2000, ("Children's",)),
        IndexedMovie(4, "of unknown year", 0, ("Film-Noir",)),
    ]
    await index.upsert(made, movies, unit_vectors(4, seed=3))
    await put_in_memory(index, made)
    expected = {
        Filter(): {1, 2, 3, 4},
        Filter(("Drama",)): {1, 2},
        Filter(("Children's",)): {3},
        Filter(("Drama", "Children's", "Drama")): {1, 2, 3},
        Filter(("Sci-Fi",)): set(),
        Filter(min_year=1990): {2, 3},
        Filter(min_year=1991): {3},
        Filter(max_year=1990): {1, 2},
        Filter(max_year=1989): {1},
        Filter(min_year=1990, max_year=1990): {2},
        Filter(("Drama",), min_year=1990): {2},
        Filter(("Film-Noir",), max_year=2200): {1},
        Filter(("Film-Noir",), min_year=1870): {1},
    }
    vectors = Vectors(np.repeat(unit_vectors(1, seed=4).values, len(expected), axis=0), MODEL)
    found = await index.search(made, vectors, [Query(10, wanted) for wanted in expected])
    ids = [{hit.movie.movie_id for hit in hits} for hits in found]
    assert dict(zip(expected, ids, strict=True)) == expected


async def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    made = spec()
    await index.create(made)
    assert await index.search(made, unit_vectors(2, seed=1), [Query(5), Query(1)]) == [[], []]
    assert await index.list_movies(made, 0, 10) == []
    assert await index.get(made, [1]) == {}


async def test_vectors_of_another_model_are_refused(index: VectorIndex) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    with pytest.raises(ModelMismatchError) as failure:
        await index.search(made, unit_vectors(1, seed=1, model_version="model-2"), [Query(1)])
    assert failure.value.metadata == {
        "index": "movies",
        "index_model_version": "model-1",
        "vectors_model_version": "model-2",
    }
    with pytest.raises(ModelMismatchError):
        await index.upsert(made, [IndexedMovie(1, "", 0, ())], unit_vectors(1, 1, "model-2"))


async def test_vectors_of_another_length_are_refused(index: VectorIndex) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    short = Vectors(np.zeros((1, DIMENSION - 1), np.float32), MODEL)
    with pytest.raises(InvalidRequestError, match=r"vectors\.dimension: is 15"):
        await index.search(made, short, [Query(1)])
    with pytest.raises(InvalidRequestError, match=r"vectors\.dimension: is 15"):
        await index.upsert(made, [IndexedMovie(1, "", 0, ())], short)


async def test_a_genre_that_the_index_does_not_know_never_reaches_an_expression(
    index: VectorIndex,
) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    for genre in (
        "Western",
        "",
        "drama",
        "Drama' or '1' == '1",
        "genre_0 == true) or (id > 0",
        '"',
    ):
        with pytest.raises(InvalidRequestError, match=r"filter\.genres\[1\]"):
            await index.search(made, unit_vectors(1, seed=1), [Query(5, Filter(("Drama", genre)))])
        with pytest.raises(InvalidRequestError, match=r"movies\[1\]\.genres\[1\]"):
            await index.upsert(
                made,
                [IndexedMovie(900, "", 0, ()), IndexedMovie(901, "", 0, ("Drama", genre))],
                unit_vectors(2, seed=1),
            )
    assert await index.get(made, [900, 901]) == {}


@hypothesis.settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(data=st.data())
def test_any_query_finds_what_exact_search_finds(searcher: Searcher, data: st.DataObject) -> None:
    queries = data.draw(st.lists(QUERIES, min_size=1, max_size=5))
    vectors = unit_vectors(len(queries), seed=data.draw(st.integers(0, 2**32 - 1)))
    assert_same(*searcher(vectors, queries))
