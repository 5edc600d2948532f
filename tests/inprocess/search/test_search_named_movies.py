"""Searches that name movies, as a client of the search service sees them."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.movies import MODEL, catalogue, unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request

from marquee.search.v1 import search_pb2
from marquee.search.v1.search_pb2 import MovieFilter, MovieQuery
from search_service.index.examples import DISLIKE_WEIGHT
from search_service.index.vector_index import Vectors


async def search(service: Service, *queries: MovieQuery) -> list[search_pb2.MovieHits]:
    """Search for each query with the same vector."""
    vectors = unit_vectors(1, 9)
    request = search_request(vectors, *queries)
    request.vectors.data *= sum(not query.liked_movie_ids for query in queries)
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


async def test_examples_take_the_place_of_a_vector_row_by_row(service: Service) -> None:
    movies = [movie.movie_id for movie in await build(service)]
    liked, other, disliked = (catalogue(50)[1].values[row] for row in (0, 1, 2))
    both = liked + other - DISLIKE_WEIGHT * disliked
    mine, of_one, of_both, among = await search(
        service,
        MovieQuery(top_k=50),
        MovieQuery(top_k=50, liked_movie_ids=[10**9, movies[0]], exclude_movie_ids=[movies[9]]),
        MovieQuery(top_k=50, liked_movie_ids=movies[:2], disliked_movie_ids=[movies[2], 10**8]),
        MovieQuery(
            top_k=5, liked_movie_ids=movies[:1], candidate_movie_ids=[movies[0], movies[7], 10**7]
        ),
    )
    given = np.stack([unit_vectors(1, 9).values[0], liked, both / np.linalg.norm(both)])
    request = search_request(
        Vectors(given, MODEL),
        MovieQuery(top_k=50),
        MovieQuery(top_k=50, exclude_movie_ids=[movies[0], movies[9]]),
        MovieQuery(top_k=50, exclude_movie_ids=movies[:3]),
    )
    expected = (await service.search.SearchMovies(request)).results
    for found, wanted in zip((mine, of_one, of_both), expected, strict=True):
        assert ids(found) == ids(wanted)
        assert [hit.similarity for hit in found.hits] == pytest.approx(
            [hit.similarity for hit in wanted.hits], abs=1e-5
        )
    assert ids(among) == [movies[7]]
    assert [list(found.unknown_movie_ids) for found in (mine, of_one, of_both, among)] == [
        [],
        [10**9],
        [10**8],
        [10**7],
    ]


async def test_a_request_of_examples_alone_has_no_vectors(service: Service) -> None:
    movies = [movie.movie_id for movie in await build(service)]
    request = search_pb2.SearchMoviesRequest(
        queries=[MovieQuery(top_k=2, liked_movie_ids=[movie]) for movie in movies[:3]]
    )
    response = await service.search.SearchMovies(request)
    assert [len(found.hits) for found in response.results] == [2, 2, 2]
    assert response.model_version == MODEL


async def test_a_query_without_a_known_example_is_refused_and_the_others_are_answered(
    service: Service,
) -> None:
    movies = [movie.movie_id for movie in await build(service)]
    request = search_request(
        unit_vectors(1, 9),
        MovieQuery(top_k=2, liked_movie_ids=[10**9], disliked_movie_ids=[movies[0]]),
        MovieQuery(top_k=3),
        MovieQuery(top_k=0, liked_movie_ids=[movies[0]]),
        MovieQuery(top_k=4, liked_movie_ids=[movies[1], 10**9]),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.search.SearchMovies(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    request.return_partial_success = True
    response = await service.search.SearchMovies(request)
    assert [len(found.hits) for found in response.results] == [3, 4]
    assert response.results[1].unknown_movie_ids == [10**9]
    assert [(row.row, row.violations[0].field) for row in response.refused_queries] == [
        (0, "queries[0].liked_movie_ids"),
        (2, "queries[2].top_k"),
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"liked_movie_ids": [3, 0]}, "liked_movie_ids[1]"),
        ({"liked_movie_ids": [3, 3]}, "liked_movie_ids[1]"),
        ({"liked_movie_ids": range(1, 102)}, "liked_movie_ids"),
        ({"liked_movie_ids": [10**9]}, "liked_movie_ids"),
        ({"disliked_movie_ids": [3]}, "disliked_movie_ids"),
        ({"liked_movie_ids": [3], "disliked_movie_ids": [4, 3]}, "disliked_movie_ids[1]"),
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
