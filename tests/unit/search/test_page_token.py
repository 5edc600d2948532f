from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given
from tests.fixtures.movies import spec

from rpckit.errors import InvalidRequestError
from search_service.contract.page_token import decode, encode

IDS = st.integers(1, 2**63 - 1)


def test_the_empty_token_is_the_first_page() -> None:
    assert decode(spec(), "") == 0


@given(IDS)
def test_a_token_goes_on_where_it_was_made(after: int) -> None:
    assert decode(spec(), encode(spec(), after)) == after


@given(IDS)
def test_a_token_of_another_index_is_refused(after: int) -> None:
    for other in (spec("other"), spec(model_version="model-2")):
        with pytest.raises(InvalidRequestError, match="page_token"):
            decode(other, encode(spec(), after))


@given(st.text(min_size=1))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        decode(spec(), text)


@given(IDS, st.integers(min_value=0), st.characters())
def test_a_token_with_another_character_is_refused(
    after: int, position: int, character: str
) -> None:
    token = encode(spec(), after)
    position %= len(token)
    changed = token[:position] + character + token[position + 1 :]
    assume(changed != token)
    with pytest.raises(InvalidRequestError, match="page_token"):
        decode(spec(), changed)
