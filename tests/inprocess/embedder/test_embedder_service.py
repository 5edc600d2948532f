"""The embedder over a real bundle and real Paddle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.bundle import MOVIES, USERS

from embedder_service.__main__ import wire
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.type.v1 import types_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_BATCH = 64


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(tiny_bundle: Bundle) -> AsyncIterator[EmbedderServiceStub]:
    settings = EmbedderSettings(
        bundle=tiny_bundle.path, port=0, metrics_port=None, shutdown_delay_s=0, max_batch=MAX_BATCH
    )
    async with (
        serving(settings, wire, Telemetry("embedder_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield EmbedderServiceStub(channel)


def rows(vectors: types_pb2.Vectors) -> np.ndarray:
    return np.frombuffer(vectors.data, "<f4").reshape(-1, vectors.dimension)


def violated(error: grpc.aio.AioRpcError) -> list[str]:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(error)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return [violation.field for violation in bad.field_violations]


async def test_users_come_back_as_unit_vectors_in_request_order(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle
) -> None:
    users = [types_pb2.User(user_id=n) for n in (3, 1, 2)]
    together = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    alone = [await embedder.EmbedUsers(pb.EmbedUsersRequest(users=[user])) for user in users]
    vectors = rows(together.vectors)
    assert vectors.shape == (3, tiny_bundle.manifest.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        vectors, np.concatenate([rows(one.vectors) for one in alone]), atol=1e-6
    )
    assert together.vectors.model_version == tiny_bundle.manifest.version
    assert together.score_scale == tiny_bundle.manifest.score_scale == 5
    assert len({vector.tobytes() for vector in vectors}) == 3


async def test_movies_come_back_as_the_bundles_golden_vectors(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle
) -> None:
    golden = tiny_bundle.golden
    movies = [
        types_pb2.Movie(
            movie_id=movie.movie_id or 0,
            title=movie.title,
            year=movie.year or 0,
            genres=movie.genres,
        )
        for movie in golden.movies
    ]
    response = await embedder.EmbedMovies(pb.EmbedMoviesRequest(movies=movies))
    np.testing.assert_allclose(rows(response.vectors), golden.movie_vectors, atol=1e-5)


@pytest.mark.parametrize(
    "known",
    [
        {"user_id": 1},
        {"gender": types_pb2.GENDER_FEMALE},
        {"gender": types_pb2.GENDER_MALE},
        {"age": 1},
        {"age": 120},
        {"occupation": 0},
        {"occupation": 20},
    ],
    ids=str,
)
async def test_every_attribute_of_a_user_is_honoured(
    embedder: EmbedderServiceStub, known: dict[str, int]
) -> None:
    users = [types_pb2.User(), types_pb2.User(**known)]
    response = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    nobody, somebody = rows(response.vectors)
    assert not np.allclose(nobody, somebody, atol=1e-6)


@pytest.mark.parametrize(
    "known", [{"movie_id": 1}, {"title": "Night of the River"}, {"genres": ["Comedy"]}], ids=str
)
async def test_every_attribute_of_a_movie_that_the_model_reads_is_honoured(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle, known: dict[str, object]
) -> None:
    if "title" in known:
        known = {"title": tiny_bundle.encoder.vocabularies.title_word.values[0]}
    if "genres" in known:
        known = {"genres": [tiny_bundle.encoder.vocabularies.genre.values[0]]}
    movies = [types_pb2.Movie(), types_pb2.Movie(**known)]
    response = await embedder.EmbedMovies(pb.EmbedMoviesRequest(movies=movies))
    nothing, something = rows(response.vectors)
    assert not np.allclose(nothing, something, atol=1e-6)


async def test_an_age_counts_as_its_bucket(embedder: EmbedderServiceStub) -> None:
    users = [types_pb2.User(age=age) for age in (25, 32, 34, 35)]
    response = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    bucket, inside, last, beyond = rows(response.vectors)
    np.testing.assert_array_equal(inside, bucket)
    np.testing.assert_array_equal(last, bucket)
    assert not np.array_equal(beyond, bucket)


async def test_an_unknown_id_is_a_user_of_unknown_id_and_said_to_be(
    embedder: EmbedderServiceStub,
) -> None:
    users = [
        types_pb2.User(user_id=1, age=25),
        types_pb2.User(user_id=USERS + 1, age=25),
        types_pb2.User(age=25),
        types_pb2.User(user_id=2**63 - 1),
    ]
    response = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    assert list(response.unknown_user_rows) == [1, 3]
    vectors = rows(response.vectors)
    np.testing.assert_array_equal(vectors[1], vectors[2])


async def test_an_unknown_movie_is_embedded_by_its_attributes_and_said_to_be_unknown(
    embedder: EmbedderServiceStub,
) -> None:
    movies = [types_pb2.Movie(movie_id=MOVIES + 1), types_pb2.Movie(), types_pb2.Movie(movie_id=1)]
    response = await embedder.EmbedMovies(pb.EmbedMoviesRequest(movies=movies))
    assert list(response.unknown_movie_rows) == [0]
    vectors = rows(response.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"user_id": 0}, "users[1].user_id"),
        ({"user_id": -1}, "users[1].user_id"),
        ({"gender": 3}, "users[1].gender"),
        ({"age": 0}, "users[1].age"),
        ({"age": 121}, "users[1].age"),
        ({"age": 2**32 - 1}, "users[1].age"),
        ({"occupation": 21}, "users[1].occupation"),
    ],
    ids=str,
)
async def test_a_bad_user_is_refused_by_row_and_field(
    embedder: EmbedderServiceStub, user: dict[str, int], field: str
) -> None:
    users = [types_pb2.User(), types_pb2.User(**user)]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    assert violated(refusal.value) == [field]


@pytest.mark.parametrize(
    ("movie", "field"),
    [
        ({"movie_id": -1}, "movies[1].movie_id"),
        ({"title": "x" * 513}, "movies[1].title"),
        ({"year": 1869}, "movies[1].year"),
        ({"year": 2201}, "movies[1].year"),
        ({"genres": ["Nonsense"]}, "movies[1].genres"),
        ({"genres": ["Comedy"] * 65}, "movies[1].genres"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_bad_movie_is_refused_by_row_and_field(
    embedder: EmbedderServiceStub, movie: dict[str, object], field: str
) -> None:
    movies = [types_pb2.Movie(), types_pb2.Movie(**movie)]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await embedder.EmbedMovies(pb.EmbedMoviesRequest(movies=movies))
    assert violated(refusal.value) == [field]


async def test_every_bad_row_is_named_in_one_refusal(embedder: EmbedderServiceStub) -> None:
    users = [types_pb2.User(age=200), types_pb2.User(gender=7), types_pb2.User(occupation=99)]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    assert violated(refusal.value) == ["users[0].age", "users[1].gender", "users[2].occupation"]


async def test_with_partial_success_bad_users_are_refused_and_the_others_embedded(
    embedder: EmbedderServiceStub,
) -> None:
    good = [types_pb2.User(user_id=1), types_pb2.User(user_id=USERS + 1), types_pb2.User(age=25)]
    users = [good[0], types_pb2.User(age=200), good[1], types_pb2.User(gender=7), good[2]]
    response = await embedder.EmbedUsers(
        pb.EmbedUsersRequest(users=users, return_partial_success=True)
    )
    expected = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=good))
    np.testing.assert_allclose(rows(response.vectors), rows(expected.vectors), atol=1e-6)
    assert list(response.unknown_user_rows) == [2]
    assert [
        (refused.row, [violation.field for violation in refused.violations])
        for refused in response.refused_users
    ] == [(1, ["users[1].age"]), (3, ["users[3].gender"])]
    assert all(each.violations[0].description for each in response.refused_users)


async def test_with_partial_success_a_request_of_bad_users_alone_is_answered(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle
) -> None:
    users = [types_pb2.User(age=200)] * MAX_BATCH
    response = await embedder.EmbedUsers(
        pb.EmbedUsersRequest(users=users, return_partial_success=True)
    )
    assert [refused.row for refused in response.refused_users] == list(range(MAX_BATCH))
    assert response.vectors.model_version == tiny_bundle.manifest.version
    assert (response.vectors.dimension, response.vectors.data) == (8, b"")


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1])
async def test_an_empty_or_too_large_batch_is_refused(
    embedder: EmbedderServiceStub, size: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as users:
        await embedder.EmbedUsers(
            pb.EmbedUsersRequest(users=[types_pb2.User()] * size, return_partial_success=True)
        )
    with pytest.raises(grpc.aio.AioRpcError) as movies:
        await embedder.EmbedMovies(pb.EmbedMoviesRequest(movies=[types_pb2.Movie()] * size))
    assert violated(users.value) + violated(movies.value) == ["users", "movies"]


async def test_the_model_says_what_it_is_and_what_it_accepts(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle
) -> None:
    model = await embedder.GetModel(pb.GetModelRequest())
    manifest = tiny_bundle.manifest
    assert (model.name, model.version) == (manifest.name, manifest.version)
    assert (model.objective, model.metric, model.score_scale) == ("rating", "IP", 5)
    assert (model.dimension, model.max_batch) == (8, MAX_BATCH)
    assert model.paddle_version == manifest.paddle_version
    assert model.data_fingerprint == manifest.data_fingerprint
    assert dict(model.vocabulary_sizes) == tiny_bundle.encoder.vocabularies.sizes()
    assert model.vocabulary_sizes["user_id"] == USERS + 1
    assert dict(model.evaluation) == pytest.approx(dict(manifest.evaluation))
    assert "rmse" in model.evaluation
    assert list(model.genres) == list(tiny_bundle.encoder.vocabularies.genre.values)


async def test_requests_that_meet_get_their_own_rows(
    embedder: EmbedderServiceStub, tiny_bundle: Bundle
) -> None:
    requests = [
        pb.EmbedUsersRequest(users=[types_pb2.User(user_id=n), types_pb2.User(age=n)])
        for n in range(1, USERS + 1)
    ]
    alone = [rows((await embedder.EmbedUsers(request)).vectors) for request in requests]
    responses = await asyncio.gather(*map(embedder.EmbedUsers, requests))
    for expected, response in zip(alone, responses, strict=True):
        np.testing.assert_allclose(rows(response.vectors), expected, atol=1e-6)
