"""Searches among given movies, as a client of the search service sees them."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.movies import unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request

from marquee.search.v1 import search_pb2
from marquee.search.v1.search_pb2 import MovieFilter, MovieQuery


async def search(service: Service, *queries: MovieQuery) -> list[search_pb2.MovieHits]:
    """Search for each query with the same vector."""
    vectors = unit_vectors(1, 9)
    request = search_request(vectors, *queries)
    request.vectors.data *= len(queries)
    return list((await service.search.SearchMovies(request)).results)


def ids(found: search_pb2.MovieHits) -> list[int]:
    return [hit.movie.movie_id for hit in found.hits]


async def test_candidates_are_found_and_the_unknown_ones_named(service: Service) -> None:
    movies = {movie.movie_id: movie for movie in await build(service)}
    everything, *found = await search(
        service,
        MovieQuery(top_k=50),
        MovieQuery(top_k=1000, candidate_movie_ids=[10**9, *movies, 10**8]),
        MovieQuery(top_k=2, candidate_movie_ids=movies),
        MovieQuery(
            top_k=50, candidate_movie_ids=[10**9, *movies], filter=MovieFilter(min_year=1994)
        ),
        MovieQuery(top_k=50, candidate_movie_ids=[10**9]),
    )
    new = [i for i in ids(everything) if movies[i].year >= 1994]
    assert [ids(each) for each in found] == [ids(everything), ids(everything)[:2], new, []]
    assert [list(each.unknown_movie_ids) for each in (everything, *found)] == [
        [],
        [10**8, 10**9],
        [],
        [10**9],
        [10**9],
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"candidate_movie_ids": [3, 0]}, "candidate_movie_ids[1]"),
        ({"candidate_movie_ids": [3, 4, 3]}, "candidate_movie_ids[2]"),
        ({"candidate_movie_ids": range(1, 1002)}, "candidate_movie_ids"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_its_name(
    service: Service, fields: dict[str, object], path: str
) -> None:
    await build(service)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(service, MovieQuery(top_k=1), MovieQuery(top_k=1, **fields))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[1].Unpack(bad)
    assert [each.field for each in bad.field_violations] == [f"queries[1].{path}"]
