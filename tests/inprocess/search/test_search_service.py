"""The search service as a client sees it."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from tests.fixtures.movies import DIMENSION, GENRES, MODEL, catalogue, id_array, spec, unit_vectors
from tests.inprocess.search.conftest import (
    Service,
    build,
    create_request,
    search_request,
    upsert_request,
)

from marquee.search.v1 import index_pb2, search_pb2
from marquee.search.v1.search_pb2 import MovieFilter, MovieQuery
from search_service.index.query import Filter, Query
from search_service.index.vector_index import Vectors
from search_service.resident.exact_index import ExactIndex


async def reason(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    """Return the status code and the reason with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


async def test_every_query_of_a_request_gets_its_own_top_k_filter_and_exclusions(
    service: Service,
) -> None:
    await build(service)
    oracle = ExactIndex()
    await oracle.create(spec())
    await oracle.upsert(spec(), *catalogue(50))
    vectors = unit_vectors(4, seed=9)
    excluded = [
        hit.movie.movie_id
        for hit in (await oracle.search(spec(), Vectors(vectors.values[3:], MODEL), [Query(5)]))[0]
    ]
    response = await service.search.SearchMovies(
        search_request(
            vectors,
            MovieQuery(top_k=3),
            MovieQuery(top_k=50, filter=MovieFilter(genres=["Drama", "Sci-Fi"])),
            MovieQuery(top_k=7, filter=MovieFilter(min_year=1960, max_year=1994)),
            MovieQuery(top_k=2, exclude_movie_ids=excluded),
        )
    )
    expected = await oracle.search(
        spec(),
        vectors,
        [
            Query(3),
            Query(50, Filter(("Drama", "Sci-Fi"))),
            Query(7, Filter(min_year=1960, max_year=1994)),
            Query(2, excluded=id_array(excluded)),
        ],
    )
    assert (response.index, response.model_version) == ("movies", MODEL)
    assert response.timings.search_us > 0
    for found, wanted in zip(response.results, expected, strict=True):
        assert [
            (hit.movie.movie_id, hit.movie.title, hit.movie.year, tuple(hit.movie.genres))
            for hit in found.hits
        ] == [(h.movie.movie_id, h.movie.title, h.movie.year, h.movie.genres) for h in wanted]
        assert [hit.similarity for hit in found.hits] == pytest.approx(
            [hit.similarity for hit in wanted], abs=1e-4
        )


async def test_ancestor_4_every_field_of_a_query_is_honoured(service: Service) -> None:
    await build(service)

    async def ids(**fields: object) -> list[int]:
        query = MovieQuery(**({"top_k": 50} | fields))
        response = await service.search.SearchMovies(search_request(unit_vectors(1, 9), query))
        return [hit.movie.movie_id for hit in response.results[0].hits]

    by_id = {movie.movie_id: movie for movie in catalogue(50)[0]}
    everything = await ids()
    assert len(everything) == 50
    assert await ids(top_k=7) == everything[:7]
    assert await ids(exclude_movie_ids=everything[1:4]) == [everything[0], *everything[4:]]
    assert await ids(filter=MovieFilter(genres=["Drama"])) == [
        i for i in everything if "Drama" in by_id[i].genres
    ]
    assert await ids(filter=MovieFilter(min_year=1994)) == [
        i for i in everything if by_id[i].year >= 1994
    ]
    assert await ids(filter=MovieFilter(max_year=1994)) == [
        i for i in everything if 0 < by_id[i].year <= 1994
    ]


async def test_many_callers_at_once_each_get_their_own_answer(service: Service) -> None:
    await build(service)
    vectors = unit_vectors(40, seed=3)

    async def ask(row: int) -> list[int]:
        request = search_request(
            Vectors(vectors.values[row : row + 1], MODEL), MovieQuery(top_k=row % 7 + 1)
        )
        response = await service.search.SearchMovies(request)
        return [hit.movie.movie_id for hit in response.results[0].hits]

    together = await asyncio.gather(*map(ask, range(40)))
    assert together == [await ask(row) for row in range(40)]


async def test_an_index_is_searched_by_name_while_another_is_active(service: Service) -> None:
    await build(service, 20, "old")
    await build(service, 30, "new")
    request = search_request(unit_vectors(1, 1), MovieQuery(top_k=100))
    assert (await service.search.SearchMovies(request)).index == "new"
    request.index = "old"
    response = await service.search.SearchMovies(request)
    assert (response.index, len(response.results[0].hits)) == ("old", 20)


async def test_movies_are_read_in_the_order_asked_for(service: Service) -> None:
    movies = await build(service)
    ids = [movies[3].movie_id, 10**9, movies[1].movie_id, 10**10, movies[3].movie_id]
    response = await service.search.GetMovies(search_pb2.GetMoviesRequest(movie_ids=ids))
    assert [movie.movie_id for movie in response.movies] == [ids[0], ids[2], ids[4]]
    assert list(response.missing_movie_ids) == [10**9, 10**10]
    assert response.index == "movies"


async def test_movies_are_listed_page_by_page(service: Service) -> None:
    movies = await build(service)
    listed, token, pages = [], "", 0
    while True:
        page = await service.search.ListMovies(
            search_pb2.ListMoviesRequest(page_size=20, page_token=token)
        )
        listed += [movie.movie_id for movie in page.movies]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (listed, pages) == (sorted(movie.movie_id for movie in movies), 3)
    whole = await service.search.ListMovies(search_pb2.ListMoviesRequest())
    assert (len(whole.movies), whole.next_page_token) == (50, "")


async def test_a_full_last_page_has_no_next(service: Service) -> None:
    await build(service, 20)
    page = await service.search.ListMovies(search_pb2.ListMoviesRequest(page_size=20))
    assert (len(page.movies), page.next_page_token) == (20, "")


async def test_an_index_tells_what_it_is(service: Service) -> None:
    created = await service.index.CreateIndex(create_request(metric=""))
    assert (created.index.metric, created.index.movie_count) == ("IP", 0)
    await service.index.UpsertMovies(upsert_request(*catalogue(20)))
    done = await service.index.ActivateIndex(index_pb2.ActivateIndexRequest(index="movies"))
    assert done.previous_index == ""
    index = (await service.search.GetIndex(search_pb2.GetIndexRequest())).index
    assert index == done.index
    assert index == index_pb2.Index(
        name="movies",
        model_version=MODEL,
        dimension=DIMENSION,
        metric="IP",
        genres=GENRES,
        movie_count=20,
        active=True,
        engine="resident exact",
    )
    listed = await service.index.ListIndexes(index_pb2.ListIndexesRequest())
    assert list(listed.indexes) == [index]


async def test_deleted_movies_and_indexes_are_gone(service: Service) -> None:
    movies = await build(service, 20, "old")
    await service.index.DeleteMovies(
        index_pb2.DeleteMoviesRequest(index="old", movie_ids=[movies[0].movie_id, 10**9])
    )
    index = (await service.search.GetIndex(search_pb2.GetIndexRequest())).index
    assert index.movie_count == 19
    delete = index_pb2.DeleteIndexRequest(index="old")
    assert await reason(service.index.DeleteIndex(delete)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "INDEX_ACTIVE",
    )
    await build(service, 20, "new")
    await service.index.DeleteIndex(delete)
    listed = await service.index.ListIndexes(index_pb2.ListIndexesRequest())
    assert [index.name for index in listed.indexes] == ["new"]


async def test_refusals_carry_their_reason(service: Service) -> None:
    request = search_request(unit_vectors(1, 1), MovieQuery(top_k=1))
    assert await reason(service.search.SearchMovies(request)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_ACTIVE_INDEX",
    )
    await build(service, 20)
    request.vectors.model_version = "model-2"
    assert await reason(service.search.SearchMovies(request)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_MISMATCH",
    )
    request.index = "missing"
    assert await reason(service.search.SearchMovies(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "INDEX_NOT_FOUND",
    )
    assert await reason(service.index.CreateIndex(create_request())) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "INDEX_EXISTS",
    )
    activate = index_pb2.ActivateIndexRequest(index="movies", expected_movie_count=21)
    assert await reason(service.index.ActivateIndex(activate)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "COUNT_MISMATCH",
    )


async def test_one_bad_caller_never_fails_its_neighbours(service: Service) -> None:
    await build(service, 20)
    good = search_request(unit_vectors(1, 1), MovieQuery(top_k=1))
    unknown = search_request(
        unit_vectors(1, 1), MovieQuery(top_k=1, filter=MovieFilter(genres=["Western"]))
    )
    foreign = search_request(unit_vectors(1, 1, "model-2"), MovieQuery(top_k=1))
    answers = await asyncio.gather(
        *(service.search.SearchMovies(r) for r in (good, unknown, good, foreign, good)),
        return_exceptions=True,
    )
    failed = [isinstance(answer, grpc.aio.AioRpcError) for answer in answers]
    assert failed == [False, True, False, True, False]


async def test_ready_means_that_an_index_is_active(service: Service) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)

    async def status(name: str) -> int:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        return int(answer.status)

    serving = health_pb2.HealthCheckResponse.SERVING
    assert await status("marquee.search.v1.IndexService") == serving
    assert await status("marquee.search.v1.SearchService") != serving
    await build(service, 20)
    until = time.monotonic() + 2
    while await status("marquee.search.v1.SearchService") != serving:
        assert time.monotonic() < until, "not ready within two seconds"
        await asyncio.sleep(0.05)
