from __future__ import annotations

import json
import threading

import grpc
from tests.e2e.conftest import Built, Running, marquee

from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.interactions.v1 import interactions_pb2
from marquee.interactions.v1.interactions_pb2_grpc import InteractionServiceStub
from marquee.recommender.v1 import recommender_pb2
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1 import index_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub


def rebuild(suite: Running, built: Built, *options: str) -> dict[str, object]:
    step = marquee(
        "index",
        *("--data", built.data, "--embedder-target", suite.embedder),
        *("--search-target", suite.search, "--json", *options),
    )
    assert step.returncode == 0, step.stderr
    report: dict[str, object] = json.loads(step.stdout)
    return report


def names(indexes: IndexServiceStub) -> set[str]:
    answer = indexes.ListIndexes(index_pb2.ListIndexesRequest(), timeout=10)
    return {index.name for index in answer.indexes}


def test_a_rebuild_takes_the_place_of_the_old_index_and_no_call_fails(
    suite: Running, built: Built, indexes: IndexServiceStub, recommender: RecommenderServiceStub
) -> None:
    before = names(indexes)
    over, failures, answers = threading.Event(), [], []

    def keep_asking() -> None:
        while not over.is_set():
            try:
                request = recommender_pb2.RecommendRequest(page_size=3)
                answers.append(recommender.Recommend(request, timeout=10).index)
            except grpc.RpcError as error:
                failures.append(error)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        report = rebuild(suite, built)
    finally:
        over.set()
        asking.join(30)
    assert not failures
    assert answers
    assert names(indexes) == {report["name"]}
    assert report["name"] not in before
    request = recommender_pb2.RecommendRequest(page_size=3)
    assert recommender.Recommend(request, timeout=10).index == report["name"]


def test_what_a_build_left_half_done_long_ago_is_cleared_away(
    suite: Running, built: Built, embedder: EmbedderServiceStub, indexes: IndexServiceStub
) -> None:
    model = embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=10)
    half_done = "fusion_20200101_000000_0123abcd"
    indexes.CreateIndex(
        index_pb2.CreateIndexRequest(
            name=half_done, model_version=model.version, dimension=7, genres=["Drama"]
        ),
        timeout=30,
    )
    report = rebuild(suite, built)
    assert report["dimension"] == model.dimension
    assert names(indexes) == {report["name"]}


def test_indexes_of_other_models_are_kept(
    suite: Running, built: Built, indexes: IndexServiceStub
) -> None:
    indexes.CreateIndex(
        index_pb2.CreateIndexRequest(
            name="of_another_model", model_version="another", dimension=7, genres=["Drama"]
        ),
        timeout=30,
    )
    assert rebuild(suite, built)["kept"] == ["of_another_model"]
    indexes.DeleteIndex(index_pb2.DeleteIndexRequest(index="of_another_model"), timeout=30)


def test_ratings_are_recorded_once_and_left_out_of_the_users_lists(
    suite: Running, built: Built, recommender: RecommenderServiceStub
) -> None:
    (ratings,) = built.data.rglob("ratings.dat")
    rows = [line.split("::") for line in ratings.read_text().splitlines()]
    rated = {int(movie) for user, movie, *_ in rows if user == "7"}
    for _ in range(2):
        report = rebuild(suite, built, "--interactions")
        assert report["interactions"] == len(rows)
        with grpc.insecure_channel(suite.gateway) as channel:
            users = InteractionServiceStub(channel)
            held = users.GetUserData(interactions_pb2.GetUserDataRequest(user_id=7), timeout=10)
        assert {each.movie_id for each in held.interactions} == rated
        assert len(held.interactions) == len(rated)
        request = recommender_pb2.RecommendRequest(user={"user_id": 7}, page_size=100)
        answer = recommender.Recommend(request, timeout=10)
        assert not rated & {each.movie.movie_id for each in answer.recommendations}
