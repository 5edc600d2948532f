"""gRPC over HTTP/2: the parts of the protocol that a gRPC library would implement.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload
from urllib.parse import quote

import grpc
from google.rpc import code_pb2, status_pb2

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

Headers = Iterable[tuple[bytes, bytes]]

Default = TypeVar("Default")

ENCODINGS = "identity, gzip, deflate"
"""Compressions that requests may use; responses use none."""


class ProtocolError(Exception):
    """A call that reaches no handler: it breaks the protocol or uses an unsupported part of it."""

    def __init__(self, code: grpc.StatusCode, message: str, *, http_status: int = 200) -> None:
        """Refuse a call with a gRPC status, and an HTTP status for callers without gRPC."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status

    def status(self) -> status_pb2.Status:
        """Return the google.rpc.Status to send."""
        return status_pb2.Status(code=code_pb2.Code.Value(self.code.name), message=self.message)


class ClientDisconnectedError(Exception):
    """The caller closed the stream or the connection and waits for no answer."""


class Metadata(Mapping[str, str | bytes]):
    """The headers of a call as gRPC metadata; the last value of a repeated key wins.

    Values are decoded when they are read, because most never are.
    """

    __slots__ = ("_raw",)

    def __init__(self, headers: Headers) -> None:
        """Wrap the headers of an ASGI call, whose names are in lower case."""
        self._raw = dict(headers)

    def __getitem__(self, key: str) -> str | bytes:
        return _decode(key, self._raw[key.encode()])

    @overload
    def get(self, key: str, default: None = None) -> str | bytes | None: ...
    @overload
    def get(self, key: str, default: Default) -> str | bytes | Default: ...
    def get(self, key: str, default: object = None) -> object:
        """Return a value or the default, without the exception that Mapping.get raises inside."""
        value = self._raw.get(key.encode())
        return default if value is None else _decode(key, value)

    def __iter__(self) -> Iterator[str]:
        return (key.decode("latin-1") for key in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


class MessageReader:
    """Reads the messages of a request while its body arrives."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        """Create a reader; nothing is read yet.

        Args:
            receive: The `receive` of the ASGI call.
            max_bytes: Largest size of a message, before and after decompression.
        """
        self.encoding = "identity"
        """Compression of the messages that have the compressed flag."""
        self._receive = receive
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0
        self._more = True

    async def read(self) -> bytes | None:
        """Return the next message, or None after the last.

        Raises:
            ProtocolError: The message is too large, cut short, or of an unsupported compression.
            ClientDisconnectedError: The caller disconnected.
        """
        prefix = await self._take(5)
        if not prefix:
            return None
        size = int.from_bytes(prefix[1:], "big")
        if size > self._max_bytes:
            raise _too_large(size, self._max_bytes)
        body = await self._take(size)
        if len(prefix) < 5 or len(body) < size:
            raise ProtocolError(grpc.StatusCode.INTERNAL, "the request ended within a message")
        return body if prefix[0] == 0 else self._decompress(body)

    async def read_only(self) -> bytes:
        """Return the message of a call that has exactly one.

        Raises:
            ProtocolError: As in `read`, or there is not exactly one message.
            ClientDisconnectedError: The caller disconnected.
        """
        event = await self._receive()
        if whole := self._whole(event):
            return whole
        self._add(event)
        message = await self.read()
        if message is None or await self.read() is not None:
            raise ProtocolError(
                grpc.StatusCode.UNIMPLEMENTED, "this method takes exactly one request message"
            )
        return message

    async def _take(self, size: int) -> bytes:
        while self._size < size and self._more:
            self._add(await self._receive())
        # Joined once, at the end: appending chunk to chunk is quadratic in the message size.
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        rest = data[size:]
        self._chunks = [rest] if rest else []
        self._size = len(rest)
        return data[:size]

    def _add(self, event: Event) -> None:
        if event["type"] == "http.disconnect":
            raise ClientDisconnectedError
        if chunk := event["body"]:
            self._chunks.append(chunk)
            self._size += len(chunk)
        self._more = event["more_body"]

    def _whole(self, event: Event) -> bytes | None:
        """Return the message if the event holds all of it: the fast path for small messages."""
        body: bytes = event.get("body", b"")
        size = len(body) - 5
        if (
            0 < size <= self._max_bytes
            and body[0] == 0
            and int.from_bytes(body[1:5], "big") == size
            and not event["more_body"]
        ):
            return body[5:]
        return None

    def _decompress(self, body: bytes) -> bytes:
        if self.encoding == "identity":
            raise ProtocolError(
                grpc.StatusCode.INTERNAL, "a message is compressed but grpc-encoding is not set"
            )
        if self.encoding not in ("gzip", "deflate"):
            raise ProtocolError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"grpc-encoding {self.encoding!r} is not supported; these are: {ENCODINGS}",
            )
        inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # detects which of the two
        try:
            message = inflater.decompress(body, self._max_bytes)
        except zlib.error as error:
            raise ProtocolError(
                grpc.StatusCode.INTERNAL, f"a message cannot be decompressed: {error}"
            ) from None
        if not inflater.eof:
            if inflater.unconsumed_tail:
                raise _too_large(self._max_bytes + 1, self._max_bytes)
            raise ProtocolError(grpc.StatusCode.INTERNAL, "a compressed message is cut short")
        return message


def frame(message: bytes) -> bytes:
    """Return a message with its gRPC prefix, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def parse_timeout(value: str | bytes | None) -> float | None:
    """Return the value of `grpc-timeout` in seconds, or None if the caller set none.

    Raises:
        ProtocolError: The value is not 1 to 8 digits and a unit.
    """
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(str(value))
    if match is None:
        raise ProtocolError(grpc.StatusCode.INTERNAL, f"malformed grpc-timeout {value!r}")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def trailers(status: status_pb2.Status) -> list[tuple[bytes, bytes]]:
    """Return the trailers of a status."""
    fields = [
        (b"grpc-status", str(status.code).encode()),
        (b"grpc-message", quote(status.message, safe=_UNQUOTED).encode()),
    ]
    if status.details:
        details = base64.b64encode(status.SerializeToString()).rstrip(b"=")
        fields.append((b"grpc-status-details-bin", details))
    return fields


_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
# Printable ASCII except the percent sign.
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def _decode(key: str, value: bytes) -> str | bytes:
    if not key.endswith("-bin"):
        return value.decode("latin-1")
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        raise ProtocolError(grpc.StatusCode.INTERNAL, f"{key} is not base64") from None


def _too_large(size: int, limit: int) -> ProtocolError:
    return ProtocolError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"received a message larger than the limit ({size} against {limit} bytes)",
    )
