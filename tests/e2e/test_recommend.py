from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from tests.e2e.conftest import Built, Running, marquee

from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1 import search_pb2
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from marquee.type.v1.types_pb2 import GENDER_FEMALE, GENDER_MALE, User

STUDENT = User(age=25, gender=GENDER_MALE, occupation=4)


def ask(recommender: RecommenderServiceStub, user: User, **fields: object) -> pb.RecommendResponse:
    return recommender.Recommend(pb.RecommendRequest(user=user, **fields), timeout=10)


def ids(response: pb.RecommendResponse) -> list[int]:
    return [each.movie.movie_id for each in response.recommendations]


def test_a_list_comes_from_the_model_and_the_index_that_it_names(
    recommender: RecommenderServiceStub,
    embedder: EmbedderServiceStub,
    searcher: SearchServiceStub,
) -> None:
    response = ask(recommender, STUDENT, page_size=5)
    model = embedder.GetModel(embedder_pb2.GetModelRequest(), timeout=10)
    index = searcher.GetIndex(search_pb2.GetIndexRequest(), timeout=10).index
    assert [each.rank for each in response.recommendations] == [1, 2, 3, 4, 5]
    scores = [each.score for each in response.recommendations]
    assert scores == sorted(scores, reverse=True)
    assert all(-5 <= score <= 5 for score in scores)
    assert response.model_version == model.version == index.model_version
    assert response.index == index.name
    assert index.active
    assert response.timings.total_us >= response.timings.embed_us + response.timings.search_us > 0


def test_ancestor_3_every_kind_of_person_gets_an_answer_of_its_own(
    recommender: RecommenderServiceStub,
) -> None:
    """The ancestor crashed without a user id, and ignored demographics beside an empty one."""
    by_id = ask(recommender, User(user_id=1))
    by_demographics = ask(recommender, STUDENT)
    other_demographics = ask(recommender, User(age=56, gender=GENDER_FEMALE, occupation=9))
    by_both = ask(recommender, User(user_id=1, age=25, gender=GENDER_MALE, occupation=4))
    by_nothing = ask(recommender, User())
    answers = [by_id, by_demographics, other_demographics, by_both, by_nothing]
    assert all(len(answer.recommendations) == 10 for answer in answers)
    scores = {tuple(each.score for each in answer.recommendations) for answer in answers}
    assert len(scores) == len(answers)
    assert by_id.user_id_status == by_both.user_id_status == pb.USER_ID_STATUS_KNOWN
    assert by_demographics.user_id_status == by_nothing.user_id_status == pb.USER_ID_STATUS_ABSENT


def test_ancestor_3_an_unknown_id_is_served_as_unknown_and_said_to_be(
    recommender: RecommenderServiceStub,
) -> None:
    unknown = ask(recommender, User(user_id=10**9, age=25))
    assert unknown.user_id_status == pb.USER_ID_STATUS_UNKNOWN
    assert ids(unknown) == ids(ask(recommender, User(age=25)))


def test_ancestor_5_the_gateway_keeps_its_connections(
    suite: Running, recommender: RecommenderServiceStub
) -> None:
    """The ancestor made a channel for every call; each would leave a socket behind."""
    ask(recommender, STUDENT)
    before = sockets_to(suite.embedder) + sockets_to(suite.search)
    for age in range(18, 68):
        ask(recommender, User(age=age))
    assert sockets_to(suite.embedder) + sockets_to(suite.search) == before


def sockets_to(target: str) -> int:
    """Count the sockets that are or lately were connected to a port, by the client's end."""
    port = int(target.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(int(line.split()[2].rpartition(":")[2], 16) == port for line in lines)


def test_ancestor_6_an_error_is_a_status_with_details_never_an_ok(
    recommender: RecommenderServiceStub,
) -> None:
    """The ancestor answered OK with an error code inside."""
    with pytest.raises(grpc.RpcError) as refused:
        ask(recommender, User(age=400), page_size=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(refused.value).details:
        detail.Unpack(bad) or detail.Unpack(info)
    assert [violation.field for violation in bad.field_violations] == ["user.age"]
    assert (info.domain, info.reason) == ("marquee", "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("name", "services"),
    [
        ("embedder", ["marquee.embedder.v1.EmbedderService"]),
        ("search", ["marquee.search.v1.SearchService", "marquee.search.v1.IndexService"]),
        ("gateway", ["marquee.recommender.v1.RecommenderService"]),
    ],
)
def test_ancestor_8_every_service_has_health_and_reflection(
    suite: Running, name: str, services: list[str]
) -> None:
    with grpc.insecure_channel(getattr(suite, name)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ["", *services]:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection.ServerReflectionInfo(iter([request]), timeout=10)
        listed = {each.name for each in answer.list_services_response.service}
    assert {*services, "grpc.health.v1.Health"} <= listed


def test_verify_finds_the_lists_of_paddle_alone(suite: Running, built: Built) -> None:
    step = marquee(
        "verify",
        *("--target", suite.gateway),
        *("--bundle", built.bundle),
        *("--data", built.data),
        "--json",
    )
    assert step.returncode == 0, step.stderr
    report = json.loads(step.stdout)
    assert report["users"] == 200
    assert report["different_lists"] == 0
    assert report["largest_score_difference"] < 1e-4


def test_the_table_shows_what_the_gateway_answers(
    suite: Running, recommender: RecommenderServiceStub
) -> None:
    step = marquee(
        *("recommend", "-a", "25", "-g", "M", "-j", "college/grad student", "-n", "5"),
        *("--target", suite.gateway),
    )
    assert step.returncode == 0, step.stderr
    head, *rows = step.stdout.splitlines()
    assert head.split() == ["Top", "Ids", "Title", "Score"]
    served = ask(recommender, STUDENT, page_size=5)
    assert [int(row.split()[1]) for row in rows[:5]] == ids(served)


def test_json_is_the_answer_of_the_contract_and_its_token_leads_to_the_next_page(
    suite: Running, recommender: RecommenderServiceStub
) -> None:
    def page(*options: str) -> dict[str, object]:
        step = marquee(
            *("recommend", "-u", "1", "-n", "7", "--json", "--target", suite.gateway, *options)
        )
        assert step.returncode == 0, step.stderr
        answer: dict[str, object] = json.loads(step.stdout)
        return answer

    first = page()
    second = page("--page-token", str(first["next_page_token"]))
    both = [*first["recommendations"], *second["recommendations"]]
    assert [each["rank"] for each in both] == list(range(1, 15))
    wanted = ask(recommender, User(user_id=1), page_size=14)
    assert [int(each["movie"]["movie_id"]) for each in both] == ids(wanted)


def test_filters_and_exclusions_of_the_command_are_honoured(
    suite: Running, searcher: SearchServiceStub
) -> None:
    genre = searcher.GetIndex(search_pb2.GetIndexRequest(), timeout=10).index.genres[0]
    everything = marquee("recommend", "--genre", genre, "--json", "--target", suite.gateway)
    movies = [each["movie"] for each in json.loads(everything.stdout)["recommendations"]]
    assert movies
    assert all(genre in movie["genres"] for movie in movies)
    first = movies[0]["movie_id"]
    without = marquee(
        "recommend", "--genre", genre, "--exclude", first, "--json", "--target", suite.gateway
    )
    left = [each["movie"]["movie_id"] for each in json.loads(without.stdout)["recommendations"]]
    assert first not in left
    assert left[0] == movies[1]["movie_id"]


def test_similar_movies_come_from_the_gateway(
    suite: Running, recommender: RecommenderServiceStub
) -> None:
    liked, disliked = ids(ask(recommender, User(), page_size=2))
    step = marquee(
        *("similar", str(liked), "--dislike", str(disliked), "-n", "5", "--target", suite.gateway)
    )
    assert step.returncode == 0, step.stderr
    head, *rows = step.stdout.splitlines()
    assert head.split() == ["Top", "Ids", "Title", "Similarity"]
    served = recommender.SimilarMovies(
        pb.SimilarMoviesRequest(
            liked_movie_ids=[liked], disliked_movie_ids=[disliked], page_size=5
        ),
        timeout=10,
    )
    assert [int(row.split()[1]) for row in rows[:5]] == [
        each.movie.movie_id for each in served.movies
    ]
    refused = marquee("similar", "999999999", "--target", suite.gateway)
    assert refused.returncode == 1
    assert refused.stderr.startswith("marquee: the gateway service refused: liked_movie_ids")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("-a", "130"), "user.age"),
        (("-u", "0"), "user.user_id"),
        (("-n", "0"), "page_size"),
        (("-n", "101"), "page_size"),
        (("--genre", "Telenovela"), "filter.genres"),
        (("--min-year", "1500"), "filter.min_year"),
        (("--min-year", "1990", "--max-year", "1980"), "filter.max_year"),
        (("--exclude", "0"), "exclude_movie_ids"),
        (("--page-token", "forged"), "page_token"),
    ],
)
def test_what_a_service_refuses_is_one_line_that_names_the_field(
    suite: Running, options: tuple[str, ...], field: str
) -> None:
    step = marquee("recommend", *options, "--target", suite.gateway)
    assert step.returncode == 1
    assert step.stderr.startswith(f"marquee: the gateway service refused: {field}")
    assert step.stderr.count("\n") == 1
    assert not step.stdout
