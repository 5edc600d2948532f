from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import page_token
from marquee.recommender.v1 import recommender_pb2 as pb
from rpckit.errors import InvalidRequestError

digests = st.binary(min_size=8, max_size=8)


def asking(**fields: object) -> pb.RecommendRequest:
    return pb.RecommendRequest(**fields)


def decoded(request: pb.RecommendRequest) -> page_token.Page:
    return page_token.decode(request.page_token, page_token.request_digest(request))


@given(st.integers(1, page_token.MAX_RESULTS - 1), digests, st.integers(1, 100))
def test_a_token_comes_back_as_what_it_was_made_of(offset: int, source: bytes, size: int) -> None:
    request = asking(exclude_movie_ids=[7], page_size=10)
    token = page_token.encode(offset, page_token.request_digest(request), source)
    again = asking(exclude_movie_ids=[7], page_size=size, page_token=token)
    assert decoded(again) == page_token.Page(offset, source)


def test_a_token_that_was_given_out_stays_good() -> None:
    request = asking(
        user={"age": 25},
        filter={"genres": ["Drama", "Comedy"]},
        exclude_movie_ids=[7, 3],
        page_token="AQAKsQIzPgKBxEuM1mLRPzdDbeVSB7Y",
    )
    source = page_token.source_digest("43bf3b631bde", "movies")
    assert decoded(request) == page_token.Page(10, source)


@given(st.text())
def test_any_other_text_is_refused_by_the_name_of_its_field(text: str) -> None:
    assume(text)
    with pytest.raises(InvalidRequestError) as refusal:
        decoded(asking(page_token=text))
    assert [violation.field for violation in refusal.value.violations] == ["page_token"]


@given(st.data())
def test_a_token_with_one_changed_character_is_refused(data: st.DataObject) -> None:
    token = page_token.encode(10, page_token.request_digest(asking()), b"answer__")
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_"))
    assume(other != token[position])
    with pytest.raises(InvalidRequestError, match="page_token"):
        decoded(asking(page_token=token[:position] + other + token[position + 1 :]))


@pytest.mark.parametrize("offset", [0, page_token.MAX_RESULTS])
def test_a_token_of_a_page_that_there_cannot_be_is_refused(offset: int) -> None:
    token = page_token.encode(offset, page_token.request_digest(asking()), b"answer__")
    with pytest.raises(InvalidRequestError, match="is not a token of this service, or damaged"):
        decoded(asking(page_token=token))


@pytest.mark.parametrize(
    "other",
    [
        {"user": {"user_id": 1}},
        {"user": {"age": 25}},
        {"filter": {"genres": ["Comedy"]}},
        {"filter": {"min_year": 1990}},
        {"exclude_movie_ids": [1]},
    ],
)
def test_a_token_of_another_request_is_refused(other: dict[str, object]) -> None:
    token = page_token.encode(10, page_token.request_digest(asking()), b"answer__")
    with pytest.raises(InvalidRequestError, match="another user, filter, exclusions or movies"):
        decoded(asking(page_token=token, **other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"page_size": 5}, {"page_size": 7, "page_token": "x"}),
        ({}, {"user": {}, "filter": {}}),
        ({"exclude_movie_ids": [1, 2]}, {"exclude_movie_ids": [2, 1]}),
        ({"filter": {"genres": ["a", "b"]}}, {"filter": {"genres": ["b", "a"]}}),
    ],
    ids=["page", "empty", "exclusions", "genres"],
)
def test_requests_for_the_same_list_have_the_same_digest(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert page_token.request_digest(asking(**one)) == page_token.request_digest(asking(**other))


def test_no_token_is_the_first_page() -> None:
    assert decoded(asking()) == page_token.Page(0, None)


def test_only_the_model_and_index_of_the_pages_before_go_on() -> None:
    page_token.check_source(page_token.Page(0, None), b"anything")
    page_token.check_source(page_token.Page(10, b"answer__"), b"answer__")
    with pytest.raises(InvalidRequestError, match="belongs to another model or index"):
        page_token.check_source(page_token.Page(10, b"answer__"), b"another_")


def test_models_and_indexes_have_digests_of_their_own() -> None:
    lists = {("m1", "a"), ("m1", "b"), ("m2", "a"), ("m", "1a")}
    assert len({page_token.source_digest(*names) for names in lists}) == len(lists)
