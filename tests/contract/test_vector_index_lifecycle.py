"""Creating, activating and deleting indexes, in every VectorIndex."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.conftest import build
from tests.fixtures.movies import spec, unit_vectors

from rpckit.errors import NotReadyError
from search_service.index.errors import (
    CountMismatchError,
    IndexActiveError,
    IndexExistsError,
    IndexNotFoundError,
    NoActiveIndexError,
)
from search_service.index.query import Query
from search_service.index.vector_index import IndexedMovie, VectorIndex


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
