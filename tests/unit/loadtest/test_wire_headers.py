from __future__ import annotations

import pytest
from hpack import Decoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from loadtest.wire.headers import encode, grpc_status

INDEXED_STATUS_200 = b"\x88"
STATUS_7_HUFFMAN = bytes.fromhex("00889acac8b21234da8f8177")
"""What Envoy sends: `grpc-status: 7`, name and value in Huffman code."""


@given(code=st.integers(0, 16), message=st.text(st.characters(codec="ascii"), max_size=300))
def test_the_status_is_found_among_other_fields(code: int, message: str) -> None:
    block = encode([("grpc-message", message), ("grpc-status", str(code)), ("x-more", "1")])
    assert grpc_status(block) == code


def test_fields_of_the_static_table_are_passed_over() -> None:
    block = INDEXED_STATUS_200 + encode([("content-type", "application/grpc")])
    assert grpc_status(block) is None
    assert grpc_status(block + encode([("grpc-status", "0")])) == 0


def test_a_table_of_no_size_is_passed_over_and_any_other_is_refused() -> None:
    assert grpc_status(b"\x20" + encode([("grpc-status", "14")])) == 14
    with pytest.raises(HPACKError, match="table size"):
        grpc_status(b"\x3f\xe1\x1f" + encode([("grpc-status", "14")]))


def test_a_block_is_read_alike_however_often_it_is_sent() -> None:
    fields = [(":method", "POST"), (":path", "/a.B/C"), ("te", "trailers"), ("x-id", "é")]
    block = encode(fields)
    decoder = Decoder()
    for _ in range(3):
        assert [tuple(field) for field in decoder.decode(block)] == fields
    assert not decoder.header_table.dynamic_entries


def test_a_huffman_coded_status_is_understood() -> None:
    assert grpc_status(STATUS_7_HUFFMAN) == 7


def test_a_status_that_has_no_meaning_is_unknown() -> None:
    assert grpc_status(encode([("grpc-status", "99")])) == 2


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(block: bytes) -> None:
    try:
        status = grpc_status(block)
    except HPACKError:
        return
    assert status is None or 0 <= status <= 16


@pytest.mark.parametrize("length", [1, 5, 12])
def test_a_block_that_ends_too_early_is_refused(length: int) -> None:
    block = encode([("grpc-status", "0")])
    with pytest.raises(HPACKError):
        grpc_status(block[:length])


def test_an_entry_of_a_dynamic_table_is_refused() -> None:
    with pytest.raises(HPACKError, match="table index"):
        grpc_status(b"\xbe")
