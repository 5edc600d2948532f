from __future__ import annotations

import pytest

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.type.v1 import types_pb2
from marquee_cli.errors import CommandError
from marquee_cli.recommendation import build_request, footer, table


def test_what_is_not_said_stays_absent() -> None:
    assert build_request() == pb.RecommendRequest(user=types_pb2.User())
    assert not build_request().HasField("page_size")
    assert not build_request().HasField("filter")
    assert not build_request().user.HasField("occupation")


def test_every_option_reaches_its_field() -> None:
    request = build_request(
        user_id=7,
        gender="F",
        age=32,
        occupation="12",
        page_size=5,
        page_token="abc",
        genres=["Drama", "Film-Noir"],
        min_year=1950,
        max_year=1960,
        exclude=["1,2", "3"],
        diversity=0.25,
    )
    assert request.user == types_pb2.User(
        user_id=7, gender=types_pb2.GENDER_FEMALE, age=32, occupation=12
    )
    assert (request.page_size, request.page_token) == (5, "abc")
    assert list(request.filter.genres) == ["Drama", "Film-Noir"]
    assert (request.filter.min_year, request.filter.max_year) == (1950, 1960)
    assert list(request.exclude_movie_ids) == [1, 2, 3]
    assert request.diversity == 0.25


@pytest.mark.parametrize(
    ("occupation", "code"), [("0", 0), ("programmer", 12), ("K-12 student", 10), ("WRITER", 20)]
)
def test_an_occupation_is_a_name_or_a_number(occupation: str, code: int) -> None:
    user = build_request(occupation=occupation).user
    assert user.HasField("occupation")
    assert user.occupation == code


def test_zero_is_sent_so_that_the_service_can_refuse_it() -> None:
    assert build_request(page_size=0).HasField("page_size")
    assert build_request(age=0).user.HasField("age")


def test_numbers_that_no_field_can_hold_are_refused() -> None:
    with pytest.raises(CommandError, match="--age"):
        build_request(age=2**32)
    with pytest.raises(CommandError):
        build_request(user_id=2**63)


def answer(**fields: object) -> pb.RecommendResponse:
    return pb.RecommendResponse(model_version="5ca1ab1e0000", index="fusion", **fields)


def test_the_table_has_the_columns_of_the_article() -> None:
    movies = [
        types_pb2.Movie(movie_id=3030, title="Yojimbo", year=1961),
        types_pb2.Movie(movie_id=50, title="A" * 90),
    ]
    response = answer(
        recommendations=[
            pb.Recommendation(rank=rank, movie=movie, score=4.5 - rank / 10)
            for rank, movie in enumerate(movies, start=1)
        ]
    )
    head, first, second = table(response)
    assert head.split() == ["Top", "Ids", "Title", "Score"]
    assert first.split() == ["1", "3030", "Yojimbo", "(1961)", "4.4000"]
    assert "…" in second
    assert len({len(line) for line in (head, first, second)}) == 1


def test_a_person_is_told_what_the_table_does_not_show() -> None:
    text = "\n".join(
        footer(answer(user_id_status=pb.USER_ID_STATUS_UNKNOWN, next_page_token="next"))
    )
    assert "No movie" in text
    assert "does not know this user id" in text
    assert "--page-token next" in text
