from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import page_token
from gateway.canonical import canonical
from marquee.recommender.v1 import recommender_pb2 as pb
from rpckit.errors import InvalidRequestError

digests = st.binary(min_size=8, max_size=8)


def asking(**fields: object) -> pb.RecommendRequest:
    return pb.RecommendRequest(**fields)


def decoded(request: pb.RecommendRequest) -> page_token.Page:
    return page_token.decode(request.page_token, canonical(request))


@given(st.integers(1, page_token.MAX_RESULTS - 1), digests, st.integers(1, 100))
def test_a_token_comes_back_as_what_it_was_made_of(
    offset: int, answered_by: bytes, size: int
) -> None:
    request = asking(exclude_movie_ids=[7], page_size=10)
    token = page_token.encode(offset, page_token.request_digest(canonical(request)), answered_by)
    again = asking(exclude_movie_ids=[7], page_size=size, page_token=token)
    assert decoded(again) == page_token.Page(offset, answered_by)


@given(st.text())
def test_any_other_text_is_refused_by_the_name_of_its_field(text: str) -> None:
    assume(text)
    with pytest.raises(InvalidRequestError) as refusal:
        decoded(asking(page_token=text))
    assert [violation.field for violation in refusal.value.violations] == ["page_token"]


@given(st.data())
def test_a_token_with_one_changed_character_is_refused(data: st.DataObject) -> None:
    token = page_token.encode(10, page_token.request_digest(canonical(asking())), b"answer__")
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"))
    assume(other != token[position])
    changed = token[:position] + other + token[position + 1 :]
    try:
        page = decoded(asking(page_token=changed))
    except InvalidRequestError:
        return
    # the last character of base64 has unused bits: the bytes, and so the page, are the same
    assert position == len(token) - 1
    assert page == page_token.Page(10, b"answer__")


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
    token = page_token.encode(10, page_token.request_digest(canonical(asking())), b"answer__")
    with pytest.raises(InvalidRequestError, match="another user, filter or exclusions"):
        decoded(asking(page_token=token, **other))


def test_no_token_is_the_first_page() -> None:
    assert decoded(asking()) == page_token.Page(0, None)


def test_models_and_indexes_have_digests_of_their_own() -> None:
    lists = {("m1", "a"), ("m1", "b"), ("m2", "a"), ("m", "1a")}
    assert len({page_token.list_digest(*names) for names in lists}) == len(lists)
