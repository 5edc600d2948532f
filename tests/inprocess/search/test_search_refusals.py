"""Every field of every request that cannot be honoured is refused by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.movies import DIMENSION, catalogue, spec, unit_vectors
from tests.fixtures.serving import Serve
from tests.inprocess.search.conftest import (
    create_request,
    saw_nothing,
    search_request,
    upsert_request,
    vectors_message,
)

from marquee.search.v1 import index_pb2, search_pb2
from marquee.search.v1.search_pb2 import MovieFilter, MovieQuery
from marquee.type.v1 import types_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount
from search_service.contract.batched_search import BatchedSearch
from search_service.contract.index_servicer import IndexServicer
from search_service.contract.search_servicer import SearchServicer
from search_service.resident.exact_index import ExactIndex
from search_service.settings import SearchSettings

REQUESTS = {
    "SearchMovies": lambda: search_request(unit_vectors(2, 1), *2 * [MovieQuery(top_k=1)]),
    "GetMovies": lambda: search_pb2.GetMoviesRequest(movie_ids=[1]),
    "ListMovies": search_pb2.ListMoviesRequest,
    "GetIndex": search_pb2.GetIndexRequest,
    "CreateIndex": lambda: create_request("another"),
    "UpsertMovies": lambda: upsert_request(*catalogue(2)),
    "DeleteMovies": lambda: index_pb2.DeleteMoviesRequest(index="movies", movie_ids=[1]),
    "ActivateIndex": lambda: index_pb2.ActivateIndexRequest(index="movies"),
    "DeleteIndex": lambda: index_pb2.DeleteIndexRequest(index="movies"),
}
Change = Callable[[Message], object]


@pytest.fixture
async def channel(serve: Serve) -> AsyncIterator[grpc.aio.Channel]:
    """A client of the service over exact search in memory."""
    index = ExactIndex()
    await index.create(spec())
    await index.upsert(spec(), *catalogue(20))
    await index.activate(spec(), None)
    await index.create(spec("other"))
    telemetry = Telemetry("search_service")
    async with BatchedSearch.over(index, saw_nothing, SearchSettings(), telemetry) as batched:
        searching = SearchServicer(index, batched, max_answer_bytes=2**20)
        services = (
            (search_pb2.DESCRIPTOR.services_by_name["SearchService"], searching),
            (index_pb2.DESCRIPTOR.services_by_name["IndexService"], IndexServicer(index)),
        )
        server = await serve(*(Mount(*each, ready=index.check_store) for each in services))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel


async def violations(channel: grpc.aio.Channel, method: str, request: Message) -> list[str]:
    """Return the fields that a call is refused for; none if it is answered."""
    file = search_pb2 if hasattr(search_pb2, f"{method}Request") else index_pb2
    service = "SearchService" if file is search_pb2 else "IndexService"
    call = channel.unary_unary(
        f"/marquee.search.v1.{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=getattr(file, f"{method}Response").FromString,
    )
    answer = call(request)
    if await answer.code() == grpc.StatusCode.OK:
        return []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    return [violation.field for violation in bad.field_violations]


def vectors(**fields: object) -> Change:
    """Replace fields of the request's vectors."""
    return lambda request: [setattr(request.vectors, *field) for field in fields.items()]


def rows(*values: float) -> bytes:
    """Two rows whose first values are these."""
    both = np.zeros((2, DIMENSION), np.float32)
    both.flat[: len(values)] = values
    return both.tobytes()


def query(**fields: object) -> Change:
    """Replace the second query."""
    return lambda request: request.queries[1].CopyFrom(MovieQuery(**({"top_k": 1} | fields)))


def wanted(**fields: object) -> Change:
    """Replace the filter of the second query."""
    return query(filter=MovieFilter(**fields))


def movie(**fields: object) -> Change:
    """Replace the second movie."""
    right = {"movie_id": 10**6, "title": "A", "year": 1999, "genres": ["Drama"]}
    return lambda request: request.movies[1].CopyFrom(types_pb2.Movie(**(right | fields)))


def field(name: str, value: object) -> Change:
    """Replace a field of the request."""

    def change(request: Message) -> None:
        request.ClearField(name)
        if isinstance(value, list):
            getattr(request, name).extend(value)
        else:
            setattr(request, name, value)

    return change


REFUSED: list[tuple[str, Change, list[str]]] = [
    ("SearchMovies", field("queries", []), ["queries"]),
    ("SearchMovies", field("queries", 1025 * [MovieQuery(top_k=1)]), ["queries"]),
    ("SearchMovies", field("queries", [MovieQuery(top_k=1)]), ["vectors.data"]),
    ("SearchMovies", vectors(dimension=0), ["vectors.dimension"]),
    ("SearchMovies", vectors(dimension=32769), ["vectors.dimension"]),
    ("SearchMovies", vectors(dimension=8), ["vectors.data"]),
    ("SearchMovies", vectors(dimension=8, data=bytes(64)), ["vectors.dimension"]),
    ("SearchMovies", vectors(data=b""), ["vectors.data"]),
    ("SearchMovies", vectors(data=rows()[:-1]), ["vectors.data"]),
    ("SearchMovies", vectors(data=rows(0, float("nan"))), ["vectors.data"]),
    ("SearchMovies", vectors(data=rows(float("inf"))), ["vectors.data"]),
    ("SearchMovies", vectors(model_version=""), ["vectors.model_version"]),
    ("SearchMovies", query(top_k=0), ["queries[1].top_k"]),
    ("SearchMovies", query(top_k=1001), ["queries[1].top_k"]),
    ("SearchMovies", query(exclude_movie_ids=[3, 0]), ["queries[1].exclude_movie_ids[1]"]),
    ("SearchMovies", query(exclude_movie_ids=[1] * 10_001), ["queries[1].exclude_movie_ids"]),
    ("SearchMovies", wanted(genres=["Western", "Drama"]), ["queries[1].filter.genres[0]"]),
    ("SearchMovies", wanted(genres=65 * ["Drama"]), ["queries[1].filter.genres"]),
    ("SearchMovies", wanted(min_year=1869), ["queries[1].filter.min_year"]),
    ("SearchMovies", wanted(min_year=2201), ["queries[1].filter.min_year"]),
    ("SearchMovies", wanted(max_year=1869), ["queries[1].filter.max_year"]),
    ("SearchMovies", wanted(max_year=2201), ["queries[1].filter.max_year"]),
    ("SearchMovies", wanted(min_year=1990, max_year=1989), ["queries[1].filter.max_year"]),
    (
        "SearchMovies",
        query(top_k=0, filter=MovieFilter(min_year=1)),
        ["queries[1].top_k", "queries[1].filter.min_year"],
    ),
    ("GetMovies", field("movie_ids", []), ["movie_ids"]),
    ("GetMovies", field("movie_ids", list(range(1, 1002))), ["movie_ids"]),
    ("GetMovies", field("movie_ids", [1, 0, -5]), ["movie_ids[1]", "movie_ids[2]"]),
    ("ListMovies", field("page_size", 0), ["page_size"]),
    ("ListMovies", field("page_size", 1001), ["page_size"]),
    ("ListMovies", field("page_token", "nonsense"), ["page_token"]),
    ("CreateIndex", field("model_version", ""), ["model_version"]),
    ("CreateIndex", field("model_version", "v" * 65), ["model_version"]),
    ("CreateIndex", field("dimension", 1), ["dimension"]),
    ("CreateIndex", field("dimension", 32769), ["dimension"]),
    ("CreateIndex", field("metric", "L2"), ["metric"]),
    ("CreateIndex", field("genres", []), ["genres"]),
    ("CreateIndex", field("genres", [f"g{n}" for n in range(57)]), ["genres"]),
    ("CreateIndex", field("genres", ["a", "b", "a"]), ["genres[2]"]),
    ("CreateIndex", field("genres", ["a", ""]), ["genres[1]"]),
    ("CreateIndex", field("genres", ["g" * 65]), ["genres[0]"]),
    ("UpsertMovies", field("movies", []), ["movies"]),
    ("UpsertMovies", field("movies", 1001 * [types_pb2.Movie(movie_id=1)]), ["movies"]),
    ("UpsertMovies", vectors(data=b"1234"), ["vectors.data"]),
    ("UpsertMovies", vectors(dimension=8, data=bytes(64)), ["vectors.dimension"]),
    ("UpsertMovies", vectors(data=rows(float("-inf"))), ["vectors.data"]),
    ("UpsertMovies", vectors(model_version=""), ["vectors.model_version"]),
    ("UpsertMovies", movie(movie_id=0), ["movies[1].movie_id"]),
    ("UpsertMovies", movie(movie_id=-1), ["movies[1].movie_id"]),
    ("UpsertMovies", movie(movie_id=catalogue(2)[0][0].movie_id), ["movies[1].movie_id"]),
    ("UpsertMovies", movie(title="é" * 257), ["movies[1].title"]),
    ("UpsertMovies", movie(year=1869), ["movies[1].year"]),
    ("UpsertMovies", movie(year=2201), ["movies[1].year"]),
    ("UpsertMovies", movie(genres=["Drama", "Western"]), ["movies[1].genres[1]"]),
    ("UpsertMovies", movie(genres=["Drama", "Drama"]), ["movies[1].genres[1]"]),
    ("DeleteMovies", field("movie_ids", []), ["movie_ids"]),
    ("DeleteMovies", field("movie_ids", list(range(1, 1002))), ["movie_ids"]),
    ("DeleteMovies", field("movie_ids", [0]), ["movie_ids[0]"]),
    ("ActivateIndex", field("expected_movie_count", 0), ["expected_movie_count"]),
]

NO_NAMES = {
    "a digit first": "1st",
    "an underscore first": "_a",
    "reserved": "_marquee_active",
    "a hyphen": "a-b",
    "a blank": "a b",
    "a newline": "a\n",
    "a zero byte": "a\0",
    "an accent": "é",
    "an emoji": "\N{CLAPPER BOARD}",
    "a path": "../x",
    "too long": 65 * "a",
    "far too long": 300 * "a",
}
"""What no index can be called."""


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES)
@pytest.mark.parametrize("method", REQUESTS)
async def test_what_no_index_can_be_called_is_refused_wherever_an_index_is_named(
    channel: grpc.aio.Channel, method: str, name: str
) -> None:
    request, path = REQUESTS[method](), "name" if method == "CreateIndex" else "index"
    setattr(request, path, name)
    assert await violations(channel, method, request) == [path]


WRITES = ["CreateIndex", "UpsertMovies", "DeleteMovies", "ActivateIndex", "DeleteIndex"]


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_names_its_index(channel: grpc.aio.Channel, method: str) -> None:
    request, path = REQUESTS[method](), "name" if method == "CreateIndex" else "index"
    request.ClearField(path)
    assert await violations(channel, method, request) == [path]


@pytest.mark.parametrize(
    ("method", "change", "fields"),
    [pytest.param(*case, id=f"{case[0]}-{case[2][0]}-{n}") for n, case in enumerate(REFUSED)],
)
async def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    channel: grpc.aio.Channel, method: str, change: Change, fields: list[str]
) -> None:
    request = REQUESTS[method]()
    change(request)
    assert await violations(channel, method, request) == fields


@pytest.mark.parametrize("method", [name for name in REQUESTS if name != "DeleteIndex"])
async def test_the_requests_that_these_tests_spoil_are_right(
    channel: grpc.aio.Channel, method: str
) -> None:
    assert await violations(channel, method, REQUESTS[method]()) == []


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("SearchMovies", query(top_k=1000, exclude_movie_ids=range(1, 1001))),
        ("SearchMovies", wanted(genres=64 * ["Drama"], min_year=1870, max_year=2200)),
        ("GetMovies", field("movie_ids", list(range(1, 1001)))),
        ("ListMovies", field("page_size", 1000)),
        ("CreateIndex", field("name", "A" + 63 * "_")),
        ("CreateIndex", field("model_version", 64 * "v")),
        ("CreateIndex", field("genres", [f"g{n}" for n in range(56)])),
        ("UpsertMovies", movie(movie_id=2**63 - 1, title=512 * "t", year=2200)),
        ("UpsertMovies", movie(year=0, genres=[], title="")),
    ],
)
async def test_the_last_value_of_a_range_is_honoured(
    channel: grpc.aio.Channel, method: str, change: Change
) -> None:
    request = REQUESTS[method]()
    change(request)
    assert await violations(channel, method, request) == []


async def test_a_page_token_of_another_index_is_refused(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary(
        "/marquee.search.v1.SearchService/ListMovies",
        request_serializer=search_pb2.ListMoviesRequest.SerializeToString,
        response_deserializer=search_pb2.ListMoviesResponse.FromString,
    )
    page = await call(search_pb2.ListMoviesRequest(page_size=1))
    assert page.next_page_token
    request = search_pb2.ListMoviesRequest(index="other", page_token=page.next_page_token)
    assert await violations(channel, "ListMovies", request) == ["page_token"]


async def test_vectors_message_is_what_the_service_reads(channel: grpc.aio.Channel) -> None:
    movies, vectors = catalogue(20)
    request = search_request(vectors, *20 * [MovieQuery(top_k=1)])
    assert request.vectors == vectors_message(vectors)
    call = channel.unary_unary(
        "/marquee.search.v1.SearchService/SearchMovies",
        request_serializer=search_pb2.SearchMoviesRequest.SerializeToString,
        response_deserializer=search_pb2.SearchMoviesResponse.FromString,
    )
    found = await call(request)
    assert [r.hits[0].movie.movie_id for r in found.results] == [m.movie_id for m in movies]
