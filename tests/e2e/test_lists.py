"""Every kind of list from services inside Envoy; tests/inprocess/gateway has them on grpc.aio."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.conftest import Built, marquee, serving, wait_until_ready

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub

ENVOY = {f"MARQUEE_{service}_SERVER": "envoy" for service in ("EMBEDDER", "SEARCH", "GATEWAY")}


def test_every_list_is_served_inside_envoy(built: Built, tmp_path: Path) -> None:
    with serving(built.bundle, tmp_path / "milvus.db", tmp_path / "log", **ENVOY) as running:
        targets = ("--embedder-target", running.embedder, "--search-target", running.search)
        step = marquee("index", "--data", built.data, *targets)
        assert step.returncode == 0, step.stderr
        wait_until_ready(running.gateway)
        with grpc.insecure_channel(running.gateway) as channel:
            check(RecommenderServiceStub(channel))


def check(recommender: RecommenderServiceStub) -> None:
    """Call every RPC with the largest and with bad requests."""
    plain = recommender.Recommend(pb.RecommendRequest(page_size=100), timeout=10)
    best = [each.movie.movie_id for each in plain.recommendations]
    many = list(range(2**34, 2**34 + 9_990))
    excluding = pb.RecommendRequest(exclude_movie_ids=[*many, *best[:10]])
    without = recommender.Recommend(excluding, timeout=10)
    assert [each.movie.movie_id for each in without.recommendations] == best[10:20]
    diverse = recommender.Recommend(pb.RecommendRequest(diversity=0.9), timeout=10)
    assert [each.movie.movie_id for each in diverse.recommendations] != best[:10]

    candidates = [*many[:900], *reversed(best)]
    ranked = recommender.RankMovies(pb.RankMoviesRequest(movie_ids=candidates), timeout=10)
    assert [each.movie.movie_id for each in ranked.recommendations] == best
    assert ranked.unknown_movie_ids == many[:900]

    request = pb.SimilarMoviesRequest(liked_movie_ids=[best[0], many[0]], page_size=2)
    first = recommender.SimilarMovies(request, timeout=10)
    assert (len(first.movies), first.unknown_movie_ids) == (2, [many[0]])
    request.page_token = first.next_page_token
    second = recommender.SimilarMovies(request, timeout=10)
    assert [each.rank for each in second.movies] == [3, 4]

    bad = {
        recommender.Recommend: (pb.RecommendRequest(diversity=2), "diversity"),
        recommender.RankMovies: (pb.RankMoviesRequest(movie_ids=[5, 5]), "movie_ids[1]"),
        recommender.SimilarMovies: (
            pb.SimilarMoviesRequest(liked_movie_ids=[many[0]]),
            "liked_movie_ids",
        ),
    }
    for call, (wrong, field) in bad.items():
        with pytest.raises(grpc.RpcError) as refusal:
            call(wrong, timeout=10)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = error_details_pb2.BadRequest()
        status = rpc_status.from_call(refusal.value)
        assert any(detail.Unpack(details) for detail in status.details)
        assert [violation.field for violation in details.field_violations] == [field]
