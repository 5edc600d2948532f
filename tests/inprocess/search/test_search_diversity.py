"""Diversity beyond the movies that are reordered, and what it costs other calls."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fixtures.movies import MODEL, catalogue, id_array, spec, unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request

from marquee.search.v1.search_pb2 import MovieQuery
from rpckit.refused_rows import RefusedRows
from search_service.contract.diversified import REORDERED, deepened, diversified
from search_service.contract.search_validation import Search
from search_service.index.query import Query
from search_service.index.vector_index import Vectors
from search_service.resident.exact_index import ExactIndex

CONTRACT = Path(__file__).parents[3] / "protos/marquee/search/v1/search.proto"


async def test_the_nearest_movies_are_reordered_and_the_others_follow_as_without(
    service: Service,
) -> None:
    await build(service, 300)

    async def ids(top_k: int, diversity: float) -> list[int]:
        query = MovieQuery(top_k=top_k, diversity=diversity)
        response = await service.search.SearchMovies(search_request(unit_vectors(1, 9), query))
        return [hit.movie.movie_id for hit in response.results[0].hits]

    plain, diverse = await ids(300, 0), await ids(300, 0.5)
    assert diverse[:REORDERED] != plain[:REORDERED]
    assert set(diverse[:REORDERED]) == set(plain[:REORDERED])
    assert diverse[REORDERED:] == plain[REORDERED:]
    for top_k in (1, 10, REORDERED, 250):
        assert await ids(top_k, 0.5) == diverse[:top_k]


def test_the_contract_says_how_many_are_reordered() -> None:
    assert f"the {REORDERED} nearest movies" in CONTRACT.read_text(encoding="utf-8")


async def test_others_have_their_turn_and_a_movie_that_was_deleted_meanwhile_is_left_out() -> None:
    index = ExactIndex()
    await index.create(spec())
    movies, vectors = catalogue(300)
    await index.upsert(spec(), movies, vectors)
    queries = [Query(20, excluded=id_array([movies[row].movie_id])) for row in range(40)]
    search = Search(
        Vectors(unit_vectors(40, 3).values, MODEL),
        queries,
        list(range(40)),
        {},
        dict.fromkeys(range(40), 0.5),
        {},
        RefusedRows(partial_success=True),
    )
    results = await index.search(spec(), search.vectors, deepened(search))
    gone = results[0][0].movie.movie_id
    await index.delete_movies(spec(), [gone])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    final = await diversified(index, spec(), search, results)
    counting.cancel()
    assert turns >= 40
    assert [len(hits) for hits in final] == [20] * 40
    assert all(hit.movie.movie_id != gone for hits in final for hit in hits)
