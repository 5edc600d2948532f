from __future__ import annotations

import string

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from rpckit.errors import InvalidRequestError
from rpckit.page_token import PageTokenCodec

CODEC = PageTokenCodec("q8s", purpose=b"a list")
CHARACTERS = string.ascii_letters + string.digits + "-_"

numbers = st.integers(-(2**63), 2**63 - 1)
digests = st.binary(min_size=8, max_size=8)


def refused(codec: PageTokenCodec, token: str) -> list[str]:
    with pytest.raises(InvalidRequestError) as refusal:
        codec.decode(token)
    return [violation.field for violation in refusal.value.violations]


@given(numbers, digests)
def test_a_token_comes_back_as_what_it_was_made_of(number: int, digest: bytes) -> None:
    token = CODEC.encode(number, digest)
    assert CODEC.decode(token) == (number, digest)
    assert set(token) <= set(CHARACTERS), "it can stand in a URL and on a command line"


@given(st.text())
def test_any_other_text_is_refused_by_the_name_of_the_field(text: str) -> None:
    assert refused(CODEC, text) == ["page_token"]


@given(numbers, digests, st.data())
def test_a_token_with_one_changed_character_is_refused(
    number: int, digest: bytes, data: st.DataObject
) -> None:
    token = CODEC.encode(number, digest)
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(CHARACTERS))
    assume(other != token[position])
    assert refused(CODEC, token[:position] + other + token[position + 1 :])


def test_the_bits_that_base64_ignores_are_part_of_a_token() -> None:
    codec = PageTokenCodec("q", purpose=b"13 bytes in all")
    token = codec.encode(1)
    assert len(token) % 4, "the last character has bits to spare"
    others = [token[:-1] + other for other in CHARACTERS if other != token[-1]]
    assert all(refused(codec, other) for other in others)


@pytest.mark.parametrize("change", ["{}=", "{}==", " {}", "{}\n", "{}AAAA"])
def test_what_is_added_to_a_token_is_refused(change: str) -> None:
    assert refused(CODEC, change.format(CODEC.encode(1, bytes(8))))


@pytest.mark.parametrize(
    "token",
    [
        PageTokenCodec("q8s", purpose=b"another list").encode(1, bytes(8)),
        PageTokenCodec("q8s", purpose=b"a list", version=2).encode(1, bytes(8)),
        PageTokenCodec("q", purpose=b"a list").encode(1),
        PageTokenCodec("q8sB", purpose=b"a list").encode(1, bytes(8), 0),
    ],
    ids=["purpose", "version", "shorter", "longer"],
)
def test_tokens_of_another_kind_are_refused(token: str) -> None:
    assert refused(CODEC, token)
