"""What every VectorIndex does: exact numpy search, Milvus Lite and a Milvus server, and the replica
in memory over each of these two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, catalogue, spec, unit_vectors

from rpckit.errors import InvalidRequestError, NotReadyError
from rpckit.observing.telemetry import Telemetry
from search_service.index.errors import (
    CountMismatchError,
    IndexActiveError,
    IndexExistsError,
    IndexNotFoundError,
    ModelMismatchError,
    NoActiveIndexError,
)
from search_service.index.vector_index import (
    Filter,
    Hits,
    IndexedMovie,
    IndexSpec,
    Query,
    VectorIndex,
    Vectors,
)
from search_service.open_index import open_store
from search_service.resident.exact_index import ExactIndex
from search_service.resident.resident_index import ResidentIndex
from search_service.settings import SearchSettings


@pytest.fixture(
    params=[
        "exact",
        "lite",
        "server",
        "resident-lite",
        # Over a minute, nearly all of it Milvus's time to load a collection
        pytest.param("resident-server", marks=pytest.mark.slow),
    ]
)
def store(request: pytest.FixtureRequest) -> SearchSettings | None:
    """Where the index is stored, and what answers; None for memory alone."""
    if request.param == "exact":
        return None
    uri = request.getfixturevalue("milvus_uri" if "server" in request.param else "lite_uri")
    engine = "resident" if "resident" in request.param else "milvus"
    return SearchSettings(milvus_uri=uri, engine=engine)


@pytest.fixture
async def index(store: SearchSettings | None) -> AsyncIterator[VectorIndex]:
    """A VectorIndex without indexes."""
    async with AsyncExitStack() as stack:
        if store is None:
            yield ExactIndex()
        else:
            await wipe(store.milvus_uri)
            yield await stack.enter_async_context(open_store(store, Telemetry("test")))


async def build(index: VectorIndex, size: int = 200, name: str = "movies") -> IndexSpec:
    """Create an index and fill it with the catalogue."""
    made = spec(name)
    await index.create(made)
    movies, vectors = catalogue(size)
    half = size // 2
    await index.upsert(made, movies[:half], Vectors(vectors.values[:half], MODEL))
    await index.upsert(made, movies[half:], Vectors(vectors.values[half:], MODEL))
    return made


async def put_in_memory(index: VectorIndex, made: IndexSpec) -> None:
    """Have a replica answer, where there is one: it does for the active index."""
    if isinstance(index, ResidentIndex):
        await index.activate(made, None)
        assert (await index.describe(made)).engine == "resident exact"


YEARS = st.none() | st.integers(1949, 2001)
QUERIES = st.builds(
    Query,
    top_k=st.integers(1, 250),
    filter=st.builds(
        Filter, genres=st.lists(st.sampled_from(GENRES)).map(tuple), min_year=YEARS, max_year=YEARS
    ),
    excluded=st.frozensets(st.integers(1, 600), max_size=250),
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
            opened = open_store(store, Telemetry("test"))
            index = runner.run(opened.__aenter__())
            stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        made = runner.run(build(index))
        runner.run(put_in_memory(index, made))
        runner.run(build(oracle))

        def search(vectors: Vectors, queries: list[Query]) -> tuple[list[Hits], list[Hits]]:
            found = runner.run(index.search(made, vectors, queries))
            return found, runner.run(oracle.search(made, vectors, queries))

        yield search


def one(values: list[float], model_version: str = MODEL) -> Vectors:
    """One vector that starts with these values."""
    row = np.zeros((1, DIMENSION), np.float32)
    row[0, : len(values)] = values
    return Vectors(row, model_version)


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
        Query(20, Filter(max_year=1977), frozenset(range(1, 200))),
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
    (hits,) = await index.search(made, one([1.0]), [Query(5)])
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
    (hits,) = await index.search(made, one([1.0]), [Query(3)])
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


async def test_exclusions_are_exact_and_each_rows_own(index: VectorIndex) -> None:
    made = await build(index)
    await put_in_memory(index, made)
    vectors = Vectors(np.repeat(unit_vectors(1, seed=8).values, 3, axis=0), MODEL)
    (ranked,) = await index.search(made, unit_vectors(1, seed=8), [Query(200)])
    ids = [hit.movie.movie_id for hit in ranked]
    first = frozenset(ids[:150])
    queries = [
        Query(10, excluded=first),
        Query(10),
        Query(2, excluded=frozenset({ids[1], 10**12})),
    ]
    found = await index.search(made, vectors, queries)
    assert [[hit.movie.movie_id for hit in hits] for hits in found] == [
        ids[150:160],
        ids[:10],
        [ids[0], ids[2]],
    ]


async def test_an_upsert_replaces_vector_and_metadata_and_is_read_at_once(
    index: VectorIndex,
) -> None:
    made = await build(index, size=20)
    await put_in_memory(index, made)
    movie = (await index.list_movies(made, after=0, limit=1))[0]
    await index.search(made, unit_vectors(1, seed=1), [Query(20)])  # warms what may be cached
    new = replace(movie, title="Another title", year=2001, genres=("Sci-Fi",))
    await index.upsert(made, [new], one([3.0]))
    (hits,) = await index.search(made, one([1.0]), [Query(1)])
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


async def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    made = spec()
    await index.create(made)
    assert await index.search(made, unit_vectors(2, seed=1), [Query(5), Query(1)]) == [[], []]
    assert await index.list_movies(made, 0, 10) == []
    assert await index.get(made, [1]) == {}


async def test_activation_switches_what_the_empty_name_means(index: VectorIndex) -> None:
    with pytest.raises(NoActiveIndexError):
        await index.resolve("")
    with pytest.raises(NotReadyError, match="no index is active"):
        await index.check_active()
    await index.check_store()
    first = await build(index, size=20, name="first")
    second = await build(index, size=30, name="second")
    done = await index.activate(first, expected=20)
    assert (done.previous, done.index.active, done.index.movie_count) == ("", True, 20)
    assert await index.resolve("") == first
    done = await index.activate(second, expected=None)
    assert (done.previous, done.index.spec) == ("first", second)
    assert (await index.resolve("")).name == "second"
    await index.check_active()
    infos = await index.list_indexes()
    assert [(i.spec.name, i.movie_count, i.active) for i in infos] == [
        ("first", 20, False),
        ("second", 30, True),
    ]


async def test_every_search_during_activations_is_answered_by_one_index(
    index: VectorIndex,
) -> None:
    first = await build(index, size=20, name="first")
    second = await build(index, size=30, name="second")
    await index.activate(first, None)
    done = asyncio.Event()

    async def switch() -> None:
        for target in (second, first, second):
            await index.activate(target, None)
        done.set()

    async def search() -> set[tuple[str, int]]:
        seen = set()
        while not done.is_set():
            resolved = await index.resolve("")
            (hits,) = await index.search(resolved, unit_vectors(1, seed=2), [Query(100)])
            seen.add((resolved.name, len(hits)))
            await asyncio.sleep(0)
        return seen

    _, seen = await asyncio.gather(switch(), search())
    assert seen <= {("first", 20), ("second", 30)}


@pytest.mark.parametrize("expected", [19, 21])
async def test_an_index_of_another_size_is_not_activated(index: VectorIndex, expected: int) -> None:
    made = await build(index, size=20)
    with pytest.raises(CountMismatchError) as failure:
        await index.activate(made, expected)
    assert failure.value.metadata["actual"] == "20"
    with pytest.raises(NoActiveIndexError):
        await index.resolve("")


async def test_an_empty_index_is_not_activated(index: VectorIndex) -> None:
    await index.create(spec())
    with pytest.raises(CountMismatchError):
        await index.activate(spec(), None)


async def test_the_active_index_cannot_be_dropped_and_another_can(index: VectorIndex) -> None:
    first = await build(index, size=20, name="first")
    second = await build(index, size=20, name="second")
    await index.activate(first, None)
    with pytest.raises(IndexActiveError):
        await index.drop(first)
    await index.drop(second)
    with pytest.raises(IndexNotFoundError):
        await index.resolve("second")
    with pytest.raises(IndexNotFoundError):
        await index.search(second, unit_vectors(1, seed=1), [Query(1)])
    assert [info.spec.name for info in await index.list_indexes()] == ["first"]


async def test_a_name_is_taken_once_and_free_again_after_a_drop(index: VectorIndex) -> None:
    await build(index, size=20)
    with pytest.raises(IndexExistsError):
        await index.create(spec())
    await index.drop(spec())
    other = replace(spec(), model_version="model-2", genres=("Western",))
    await index.create(other)
    assert await index.resolve("movies") == other
    assert (await index.describe(other)).movie_count == 0


async def test_what_is_not_there_is_not_found(index: VectorIndex) -> None:
    missing = spec("missing")
    vectors = unit_vectors(1, seed=1)
    for attempt in (
        index.resolve("missing"),
        index.search(missing, vectors, [Query(1)]),
        index.get(missing, [1]),
        index.list_movies(missing, 0, 1),
        index.upsert(missing, [IndexedMovie(1, "", 0, ())], vectors),
        index.delete_movies(missing, [1]),
        index.activate(missing, None),
        index.describe(missing),
        index.drop(missing),
    ):
        with pytest.raises(IndexNotFoundError, match="missing"):
            await attempt


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
