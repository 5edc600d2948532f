from __future__ import annotations

import pytest

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee_cli.errors import CommandError
from marquee_cli.similarity import build_request, footer


def test_what_is_not_said_stays_absent() -> None:
    assert build_request(["7"]) == pb.SimilarMoviesRequest(liked_movie_ids=[7])
    assert not build_request(["7"]).HasField("page_size")
    assert not build_request(["7"]).HasField("filter")


def test_every_option_reaches_its_field() -> None:
    request = build_request(
        ["1,2", "3"],
        disliked=["4", "5,6"],
        page_size=5,
        page_token="abc",
        genres=["Drama"],
        min_year=1950,
        max_year=1960,
        exclude=["7,8"],
        diversity=0.25,
    )
    assert request == pb.SimilarMoviesRequest(
        liked_movie_ids=[1, 2, 3],
        disliked_movie_ids=[4, 5, 6],
        page_size=5,
        page_token="abc",
        filter={"genres": ["Drama"], "min_year": 1950, "max_year": 1960},
        exclude_movie_ids=[7, 8],
        diversity=0.25,
    )


def test_ids_that_no_field_can_hold_are_refused() -> None:
    with pytest.raises(CommandError):
        build_request([str(2**63)])


def test_a_person_is_told_what_the_table_does_not_show() -> None:
    text = "\n".join(
        footer(pb.SimilarMoviesResponse(unknown_movie_ids=[8, 9], next_page_token="next"))
    )
    assert "No movie matches." in text
    assert "ignored: 8, 9." in text
    assert "--page-token next" in text
