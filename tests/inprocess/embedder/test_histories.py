"""The embedder over a bundle of the ranking objective: histories, and what a score says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.bundle import MOVIES

from embedder_service.__main__ import wire
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.type.v1 import types_pb2
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(ranking_bundle: Bundle) -> AsyncIterator[EmbedderServiceStub]:
    settings = EmbedderSettings(
        bundle=ranking_bundle.path, port=0, metrics_port=None, shutdown_delay_s=0
    )
    async with (
        serving(settings, wire, Telemetry("embedder_service")) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield EmbedderServiceStub(channel)


async def embed(
    embedder: EmbedderServiceStub, *users: types_pb2.User
) -> tuple[pb.EmbedUsersResponse, np.ndarray]:
    response = await embedder.EmbedUsers(pb.EmbedUsersRequest(users=users))
    vectors = np.frombuffer(response.vectors.data, "<f4").reshape(-1, response.vectors.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    return response, vectors


async def test_the_model_says_that_a_score_is_a_cosine_and_that_it_takes_histories(
    embedder: EmbedderServiceStub,
) -> None:
    model = await embedder.GetModel(pb.GetModelRequest())
    assert (model.name, model.objective) == ("fusion-ranking", "ranking")
    assert (model.score_scale, model.score_kind) == (1, types_pb2.SCORE_KIND_AFFINITY)
    assert model.histories
    assert "ndcg_at_10" in model.evaluation
    response, _ = await embed(embedder, types_pb2.User())
    assert (response.score_scale, response.score_kind) == (1, types_pb2.SCORE_KIND_AFFINITY)


async def test_what_a_user_liked_and_disliked_changes_his_vector(
    embedder: EmbedderServiceStub,
) -> None:
    _, vectors = await embed(
        embedder,
        types_pb2.User(),
        types_pb2.User(liked_movie_ids=[1]),
        types_pb2.User(liked_movie_ids=[2, 3]),
        types_pb2.User(liked_movie_ids=[3, 2]),
        types_pb2.User(user_id=1, age=25, liked_movie_ids=[1]),
        types_pb2.User(user_id=1, age=25),
    )
    assert len(np.unique(vectors.round(5), axis=0)) == 5
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-6)


async def test_movies_that_the_model_does_not_know_are_ignored_and_named(
    embedder: EmbedderServiceStub,
) -> None:
    response, vectors = await embed(
        embedder,
        types_pb2.User(liked_movie_ids=[1]),
        types_pb2.User(liked_movie_ids=[MOVIES + 1, 1], disliked_movie_ids=[MOVIES + 2]),
    )
    (ignored,) = response.ignored_movies
    assert (ignored.row, list(ignored.movie_ids)) == (1, [MOVIES + 1, MOVIES + 2])
    np.testing.assert_array_equal(vectors[0], vectors[1])


async def test_a_history_may_have_500_movies_and_no_more(embedder: EmbedderServiceStub) -> None:
    response, _ = await embed(embedder, types_pb2.User(liked_movie_ids=range(1, 501)))
    assert len(response.ignored_movies[0].movie_ids) == 500 - MOVIES
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await embed(
            embedder,
            types_pb2.User(),
            types_pb2.User(liked_movie_ids=range(1, 400), disliked_movie_ids=range(400, 502)),
        )
    bad = error_details_pb2.BadRequest()
    status = rpc_status.from_call(refusal.value)
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [each.field for each in bad.field_violations] == ["users[1].liked_movie_ids"]
