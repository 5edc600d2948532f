from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import zlib
from collections.abc import Sequence
from urllib.parse import unquote

import grpc
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from rpckit_envoy.protocol import (
    ClientDisconnectedError,
    Event,
    MessageReader,
    Metadata,
    ProtocolError,
    frame,
    parse_timeout,
    trailers,
)
from rpckit_envoy.request_budget import RequestBudget

LIMIT = 1000


def reader(
    chunks: Sequence[bytes], encoding: str = "identity", *, goes: bool = False
) -> MessageReader:
    """Read a body that arrives in chunks, after which the caller goes away or has said all."""
    events: list[Event] = [
        {"type": "http.request", "body": chunk, "more_body": goes or n < len(chunks)}
        for n, chunk in enumerate(chunks, start=1)
    ]
    events.append({"type": "http.disconnect"})

    async def receive() -> Event:
        return events.pop(0)

    made = MessageReader(receive, LIMIT, RequestBudget(LIMIT))
    made.encoding = encoding
    return made


def split(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(places)]


def compressed(message: bytes) -> bytes:
    return b"\1" + frame(message)[1:]


async def read_all(messages: MessageReader) -> list[bytes]:
    found = []
    while (message := await messages.read()) is not None:
        found.append(message)
    return found


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 300), max_size=8))
def test_messages_come_out_whole_however_they_were_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    body = b"".join(map(frame, messages))
    assert asyncio.run(read_all(reader(split(body, cuts)))) == messages


@given(st.binary(min_size=1, max_size=40), st.integers(1, 44))
def test_a_message_cut_short_is_an_error(message: bytes, kept: int) -> None:
    body = frame(message)
    with pytest.raises(ProtocolError, match="within a message"):
        asyncio.run(read_all(reader([body[: min(kept, len(body) - 1)]])))


async def test_a_disconnected_caller_is_not_the_end_of_the_request() -> None:
    with pytest.raises(ClientDisconnectedError):
        await reader([frame(b"abc")[:6]], goes=True).read()


@pytest.mark.parametrize("messages", [[], [b"a", b"b"]])
async def test_a_unary_request_has_exactly_one_message(messages: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        await reader([b"".join(map(frame, messages))]).read_only()
    assert caught.value.code == grpc.StatusCode.UNIMPLEMENTED


async def test_a_large_message_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(ProtocolError) as caught:
        await reader([(b"\0" + (LIMIT + 1).to_bytes(4, "big"))], goes=True).read()
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await reader([frame(bytes(LIMIT))]).read() == bytes(LIMIT)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_compressed_messages_are_decompressed(encoding: str, compress: object) -> None:
    assert callable(compress)
    body = compressed(compress(b"a" * LIMIT)) + frame(b"plain")
    assert await read_all(reader([body], encoding)) == [b"a" * LIMIT, b"plain"]


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (compressed(gzip.compress(bytes(LIMIT + 1))), "gzip", "RESOURCE_EXHAUSTED"),
        (compressed(gzip.compress(bytes(9))[:-9]), "gzip", "INTERNAL"),
        (compressed(b"not gzip"), "gzip", "INTERNAL"),
        (compressed(b"whatever"), "identity", "INTERNAL"),
        (compressed(b"whatever"), "snappy", "UNIMPLEMENTED"),
    ],
)
async def test_a_message_that_cannot_be_decompressed_is_refused(
    body: bytes, encoding: str, code: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        await reader([body], encoding).read()
    assert caught.value.code.name == code


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("2S", 2.0),
        ("1500m", 1.5),
        ("99999999u", 99.999999),
        ("5n", 5e-9),
        ("3M", 180.0),
        ("1H", 3600.0),
    ],
)
def test_timeouts_are_in_seconds(value: str | None, seconds: float | None) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "5", "S", "-1S", "1.5S", "123456789m", "1s", "٣S", "1S\n"])
def test_a_malformed_timeout_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="grpc-timeout"):
        parse_timeout(value)


def test_metadata_is_text_or_bytes() -> None:
    value = b"\0\xff\1\2"
    padded, bare = base64.b64encode(value), base64.b64encode(value).rstrip(b"=")
    headers = [(b"x-a", b"1"), (b"x-b-bin", padded), (b"x-c-bin", bare), (b"x-a", b"2")]
    metadata = Metadata([*headers, (b"x-d-bin", b"!!!")])
    assert metadata["x-a"] == "2"
    assert metadata["x-b-bin"] == metadata.get("x-c-bin") == value
    assert metadata.get("x-e") is None
    assert metadata.get("x-e", "?") == "?"
    assert list(metadata) == ["x-a", "x-b-bin", "x-c-bin", "x-d-bin"]
    with pytest.raises(ProtocolError):
        metadata.get("x-d-bin")


@given(st.text())
def test_any_message_travels_in_a_header(message: str) -> None:
    message = message.encode(errors="ignore").decode()
    fields = dict(trailers(status_pb2.Status(code=5, message=message)))
    assert fields.keys() == {b"grpc-status", b"grpc-message"}
    assert fields[b"grpc-status"] == b"5"
    assert all(0x20 <= byte <= 0x7E for byte in fields[b"grpc-message"])
    assert unquote(fields[b"grpc-message"].decode()) == message
