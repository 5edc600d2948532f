"""InteractionService as a client sees it, and searches that leave out what was seen."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.fixtures.movies import unit_vectors
from tests.inprocess.search.conftest import Service, build, search_request, settings

from marquee.interactions.v1 import interactions_pb2 as pb
from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2 import MovieQuery
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving
from search_service.__main__ import wire

ANN, BEN = 71, 4_503_599_627_370_567  # both in the same bucket
YESTERDAY = int(time.time()) - 86_400


def interaction(
    movie_id: int,
    user_id: int = ANN,
    *,
    at: int = YESTERDAY,
    kind: str = "SEEN",
    **fields: Any,
) -> pb.Interaction:
    """An interaction that is valid unless fields say otherwise."""
    message = pb.Interaction(
        user_id=user_id,
        movie_id=movie_id,
        kind=pb.InteractionKind.Value(f"INTERACTION_KIND_{kind}"),
        **fields,
    )
    message.time.FromSeconds(at)
    return message


def users(service: Service) -> InteractionServiceStub:
    return InteractionServiceStub(service.channel)


async def record(service: Service, interactions: Sequence[pb.Interaction]) -> None:
    await users(service).RecordInteractions(pb.RecordInteractionsRequest(interactions=interactions))


async def held(service: Service, user_id: int = ANN, page_size: int = 1000) -> list[pb.Interaction]:
    """Return everything that is held about a user."""
    found: list[pb.Interaction] = []
    request = pb.GetUserDataRequest(user_id=user_id, page_size=page_size)
    while True:
        page = await users(service).GetUserData(request)
        found += page.interactions
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def found(service: Service, user_id: int | None = ANN) -> set[int]:
    """Return the ids of all movies that a search for a user finds."""
    query = MovieQuery(top_k=1000, exclude_seen_by_user_id=user_id)
    response = await service.search.SearchMovies(search_request(unit_vectors(1, 1), query))
    return {hit.movie.movie_id for hit in response.results[0].hits}


async def refusals(call: grpc.aio.UnaryUnaryCall) -> dict[str, str]:
    """Return what a request is refused for, by field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = caught.value.details() or ""
    return dict(part.split(": ", 1) for part in details.split("; "))


@asynccontextmanager
async def running(folder: Path, **others: object) -> AsyncIterator[Service]:
    """A search service over a Milvus Lite folder."""
    chosen = settings(folder / "milvus.db", **others)
    async with (
        serving(chosen, wire, Telemetry("search_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Service(SearchServiceStub(channel), IndexServiceStub(channel), channel)


async def test_a_search_leaves_out_exactly_what_the_user_has_seen_at_once(service: Service) -> None:
    movies = {movie.movie_id for movie in await build(service)}
    seen = sorted(movies)[:4]
    assert await found(service) == movies
    kinds = ("SEEN", "LIKED", "DISLIKED")
    for number, (movie_id, kind) in enumerate(zip(seen, kinds, strict=False), start=1):
        await record(service, [interaction(movie_id, kind=kind)])
        assert await found(service) == movies - set(seen[:number])
    await record(service, [interaction(seen[3], kind="RATED", rating=0.5), interaction(10**15)])
    assert await found(service) == movies - set(seen)
    assert await found(service, BEN) == await found(service, None) == movies


async def test_the_rows_of_a_request_leave_out_what_each_ones_user_has_seen(
    service: Service,
) -> None:
    first, second, *rest = sorted(movie.movie_id for movie in await build(service))
    await record(service, [interaction(first), interaction(second, BEN)])
    response = await service.search.SearchMovies(
        search_request(
            unit_vectors(3, 1),
            MovieQuery(top_k=1000, exclude_seen_by_user_id=BEN, exclude_movie_ids=rest[:2]),
            MovieQuery(top_k=1000),
            MovieQuery(top_k=1000, exclude_seen_by_user_id=ANN),
        )
    )
    everything = {first, second, *rest}
    assert [{hit.movie.movie_id for hit in result.hits} for result in response.results] == [
        everything - {second, *rest[:2]},
        everything,
        everything - {first},
    ]


async def test_what_is_held_about_a_user_is_what_was_recorded_in_order_of_time(
    service: Service,
) -> None:
    recorded = [
        interaction(5, kind="LIKED"),
        interaction(5, kind="RATED", rating=3.5, recommendation_id="Grüße"),
        interaction(9, at=YESTERDAY - 1),
        interaction(4, at=0),
    ]
    recorded[1].time.nanos = 7
    await record(service, [*recorded, interaction(6, BEN)])
    assert (
        await held(service)
        == await held(service, page_size=1)
        == [
            recorded[3],
            recorded[2],
            recorded[0],
            recorded[1],
        ]
    )
    assert await held(service, 3) == []


async def test_recording_again_changes_nothing_but_the_rating(service: Service) -> None:
    first = interaction(5, kind="RATED", rating=2)
    second = interaction(5, kind="RATED", rating=4)
    await record(service, [first, first])
    await record(service, [first])
    assert await held(service) == [first]
    await record(service, [first, second])
    assert await held(service) == [second]


async def test_deleted_data_is_gone_and_the_movies_are_found_again(service: Service) -> None:
    movies = {movie.movie_id for movie in await build(service)}
    mine = [interaction(movie_id) for movie_id in sorted(movies)[:3]]
    await record(service, [*mine, interaction(mine[0].movie_id, BEN)])
    for _ in range(2):
        await users(service).DeleteUserData(pb.DeleteUserDataRequest(user_id=ANN))
        assert await held(service) == []
        assert await found(service) == movies
    assert len(await held(service, BEN)) == 1
    assert await found(service, BEN) == movies - {mine[0].movie_id}
    await record(service, mine[:1])
    assert await found(service) == movies - {mine[0].movie_id}


async def test_users_without_interactions_can_be_read_and_deleted_before_any_are_recorded(
    service: Service,
) -> None:
    await users(service).DeleteUserData(pb.DeleteUserDataRequest(user_id=ANN))
    assert await held(service) == []


async def test_what_was_seen_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        movies = {movie.movie_id for movie in await build(service)}
        seen = set(sorted(movies)[:3])
        await record(service, [interaction(movie_id) for movie_id in seen])
        await users(service).DeleteUserData(pb.DeleteUserDataRequest(user_id=BEN))
    async with running(tmp_path) as service:
        assert await found(service) == movies - seen
        assert len(await held(service)) == 3


async def test_over_the_limit_of_memory_searches_are_as_exact(tmp_path: Path) -> None:
    async with running(tmp_path, seen_limit=0) as service:
        movies = {movie.movie_id for movie in await build(service)}
        seen = set(sorted(movies)[:3])
        await record(service, [interaction(movie_id) for movie_id in seen])
        assert await found(service) == movies - seen
        assert await found(service, BEN) == movies


async def test_only_the_newest_interactions_of_each_user_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path, most_interactions_per_user=20) as service:
        recorded = [interaction(number, at=YESTERDAY + number) for number in range(1, 31)]
        await record(service, [interaction(1, BEN), *recorded[15:]])
        await record(service, recorded[:7])
        assert await held(service) == [*recorded[:7], *recorded[15:]]
        await record(service, [recorded[14]])
        assert await held(service) == [*recorded[3:7], *recorded[14:]]
        assert len(await held(service, BEN)) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"movie_id": 0}, "movie_id"),
        ({"user_id": -1}, "user_id"),
        ({"kind": "UNSPECIFIED"}, "kind"),
        ({"kind": "RATED"}, "rating"),
        ({"kind": "LIKED", "rating": 3.0}, "rating"),
        ({"kind": "RATED", "rating": 5.5}, "rating"),
        ({"kind": "RATED", "rating": float("nan")}, "rating"),
        ({"at": int(time.time()) + 3600}, "time"),
        ({"at": -1}, "time"),
        ({"recommendation_id": "é" * 33}, "recommendation_id"),
    ],
)
async def test_a_bad_interaction_is_refused_by_its_field_and_nothing_is_recorded(
    service: Service, fields: dict[str, Any], field: str
) -> None:
    bad = interaction(**{"movie_id": 1, "user_id": ANN} | fields)
    request = pb.RecordInteractionsRequest(interactions=[interaction(2), bad])
    assert list(await refusals(users(service).RecordInteractions(request))) == [
        f"interactions[1].{field}"
    ]
    assert await held(service) == []


async def test_an_interaction_needs_a_time(service: Service) -> None:
    bad = interaction(1)
    bad.ClearField("time")
    request = pb.RecordInteractionsRequest(interactions=[bad])
    refused = await refusals(users(service).RecordInteractions(request))
    assert refused == {"interactions[0].time": "must be set"}


async def test_clocks_may_differ_by_a_minute(service: Service) -> None:
    await record(service, [interaction(1, at=int(time.time()) + 50)])


@pytest.mark.parametrize("number", [0, 1001])
async def test_a_request_has_1_to_1000_interactions(service: Service, number: int) -> None:
    await record(service, [interaction(movie_id) for movie_id in range(1, 1001)])
    assert len(await held(service)) == 1000
    request = pb.RecordInteractionsRequest(interactions=[interaction(1)] * number)
    assert "interactions" in await refusals(users(service).RecordInteractions(request))


async def test_bad_fields_of_reads_and_deletions_are_refused(service: Service) -> None:
    stub = users(service)
    delete = pb.DeleteUserDataRequest
    get = pb.GetUserDataRequest
    assert "user_id" in await refusals(stub.DeleteUserData(delete(user_id=0)))
    assert "user_id" in await refusals(stub.GetUserData(get(user_id=-3)))
    assert "page_size" in await refusals(stub.GetUserData(get(user_id=1, page_size=0)))
    assert "page_size" in await refusals(stub.GetUserData(get(user_id=1, page_size=1001)))
    assert "page_token" in await refusals(stub.GetUserData(get(user_id=1, page_token="x")))
    await record(service, [interaction(1), interaction(2)])
    page = await stub.GetUserData(get(user_id=ANN, page_size=1))
    other = get(user_id=BEN, page_token=page.next_page_token)
    assert "page_token" in await refusals(stub.GetUserData(other))


async def test_a_search_for_a_user_of_id_0_is_refused(service: Service) -> None:
    await build(service)
    call = service.search.SearchMovies(
        search_request(unit_vectors(1, 1), MovieQuery(top_k=1, exclude_seen_by_user_id=0))
    )
    assert "queries[0].exclude_seen_by_user_id" in await refusals(call)
