"""What is wrong with one query of a request, and what is too much for all of them together."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.movies import catalogue, unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request

from marquee.search.v1 import search_pb2
from marquee.search.v1.search_pb2 import MovieFilter, MovieQuery
from rpckit.errors import MAX_VIOLATIONS

GOOD = MovieQuery(top_k=3)
BAD = {
    "top_k": MovieQuery(top_k=2**32 - 1),
    "exclude_movie_ids[1]": MovieQuery(top_k=3, exclude_movie_ids=[1, 0]),
    "filter.min_year": MovieQuery(top_k=3, filter=MovieFilter(min_year=1)),
    "filter.genres[0]": MovieQuery(top_k=3, filter=MovieFilter(genres=["Nonsense"])),
}


def partial(*queries: MovieQuery, seed: int = 3) -> search_pb2.SearchMoviesRequest:
    request = search_request(unit_vectors(len(queries), seed), *queries)
    request.return_partial_success = True
    return request


def refused(response: search_pb2.SearchMoviesResponse) -> dict[int, list[str]]:
    return {
        each.row: [violation.field for violation in each.violations]
        for each in response.refused_queries
    }


async def reason(service: Service, request: search_pb2.SearchMoviesRequest) -> tuple[str, str]:
    """Return the status and the reason for which a request is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.search.SearchMovies(request)
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(caught.value).details[0].Unpack(info)
    return caught.value.code().name, info.reason


async def test_with_partial_success_bad_queries_are_refused_and_the_others_answered(
    service: Service,
) -> None:
    await build(service)
    queries = [each for bad in BAD.values() for each in (bad, GOOD)]
    response = await service.search.SearchMovies(partial(*queries))
    assert refused(response) == {
        2 * number: [f"queries[{2 * number}].{field}"] for number, field in enumerate(BAD)
    }
    everything = search_request(unit_vectors(len(queries), 3), *[GOOD] * len(queries))
    expected = (await service.search.SearchMovies(everything)).results[1::2]
    assert list(response.results) == list(expected)


async def test_with_partial_success_a_request_of_bad_queries_alone_is_answered(
    service: Service,
) -> None:
    await build(service)
    response = await service.search.SearchMovies(partial(*BAD.values()))
    assert (len(response.results), len(response.refused_queries)) == (0, len(BAD))
    assert response.index == "movies"


async def test_the_violations_of_a_refused_query_are_bounded(service: Service) -> None:
    await build(service)
    bad = MovieQuery(top_k=1, exclude_movie_ids=[0] * 1000)
    response = await service.search.SearchMovies(partial(bad, GOOD))
    (fields,) = refused(response).values()
    assert fields == [f"queries[0].exclude_movie_ids[{n}]" for n in range(MAX_VIOLATIONS)]


async def test_without_partial_success_one_bad_query_fails_the_request(service: Service) -> None:
    await build(service)
    request = partial(GOOD, *BAD.values())
    request.return_partial_success = False
    assert await reason(service, request) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def test_what_is_wrong_with_the_vectors_fails_the_request_in_any_case(
    service: Service,
) -> None:
    await build(service)
    request = partial(GOOD, GOOD)
    request.vectors.model_version = "another"
    assert await reason(service, request) == ("FAILED_PRECONDITION", "MODEL_MISMATCH")


async def test_more_hits_than_a_response_can_hold_are_refused_before_any_work(
    service: Service,
) -> None:
    await build(service)
    request = partial(*[MovieQuery(top_k=1000)] * 1024)
    assert await reason(service, request) == ("INVALID_ARGUMENT", "TOO_MANY_HITS")
    calls = partial(*[MovieQuery(top_k=len(catalogue(50)[0]))] * 1024)
    assert len((await service.search.SearchMovies(calls)).results) == 1024
