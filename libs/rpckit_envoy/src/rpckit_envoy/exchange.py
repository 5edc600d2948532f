"""One gRPC call as ASGI events: a request of one message or many, and an answer of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from rpckit_envoy.active_calls import Flight
from rpckit_envoy.protocol import (
    ENCODINGS,
    GoneError,
    Headers,
    MessageReader,
    Metadata,
    ProtocolError,
    Receive,
    Send,
    frame,
    trailers,
)

MessageT = TypeVar("MessageT", bound=Message)


class Exchange:
    """One call; to grpcio's servicers it is as much of a `grpc.aio.ServicerContext` as they use."""

    __slots__ = ("_flight", "_has_begun", "_reader", "_send", "metadata")

    def __init__(
        self, headers: Headers, receive: Receive, send: Send, flight: Flight, max_bytes: int
    ) -> None:
        """Wrap an ASGI call; nothing is read or sent yet.

        Args:
            headers: The ASGI call's.
            receive: The ASGI call's.
            send: The ASGI call's.
            flight: To be told when the request is complete.
            max_bytes: Size of the largest request message.
        """
        self.metadata = Metadata(headers)
        self._reader = MessageReader(receive, max_bytes)
        self._send = send
        self._flight = flight
        self._has_begun = False

    def open(self) -> None:
        """Take in what the headers say.

        Raises:
            ProtocolError: This is no gRPC call.
        """
        if not str(self.metadata.get("content-type")).startswith("application/grpc"):
            raise ProtocolError(
                grpc.StatusCode.UNKNOWN, "the content type is not application/grpc", http_status=415
            )
        self._reader.encoding = str(self.metadata.get("grpc-encoding", "identity"))

    async def body(self) -> bytes:
        """Return the serialized request of a call that has one.

        Raises:
            ProtocolError: See MessageReader.
            GoneError: The caller went away.
        """
        body = await self._reader.read_only()
        self._flight.request_is_complete()
        return body

    async def request(self, kind: type[MessageT]) -> MessageT:
        """Return the request of a call that has one; raises as `body` does."""
        return _parse(kind, await self.body())

    async def requests(self, kind: type[MessageT]) -> AsyncIterator[MessageT]:
        """Yield the requests of a call that has many; raises as `body` does."""
        while (body := await self._reader.read()) is not None:
            yield _parse(kind, body)
        self._flight.request_is_complete()

    async def answer(self, response: bytes) -> None:
        """Send the only response, serialized, and end the call with OK.

        Raises:
            GoneError: The caller went away.
        """
        try:
            self._has_begun = True
            await self._send(_BEGIN)
            await self._send({"type": "http.response.body", "body": frame(response)})
            await self._send(_END_OK)
        except OSError:
            raise GoneError from None

    async def write(self, message: Message) -> None:
        """Send one of many responses; returns when Envoy has taken it, so a slow caller slows us.

        Raises:
            GoneError: The caller went away.
        """
        try:
            if not self._has_begun:
                self._has_begun = True
                await self._send(_BEGIN)
            body = frame(message.SerializeToString())
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except OSError:
            raise GoneError from None

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """Break the call off with a status, from within a servicer."""
        raise ProtocolError(code, details)

    async def finish(self, status: status_pb2.Status, http_status: int = 200) -> None:
        """End a call that `answer` has not ended.

        Args:
            status: How it went.
            http_status: What HTTP is to say; only callers that do not speak gRPC look at it.

        Raises:
            GoneError: The caller went away.
        """
        try:
            if self._has_begun:
                await self._send({"type": "http.response.body"})
                await self._send({"type": "http.response.trailers", "headers": trailers(status)})
            else:  # what gRPC calls Trailers-Only: they take the place of the headers
                headers = [_CONTENT_TYPE, _ACCEPTED, *trailers(status)]
                await self._send(
                    {"type": "http.response.start", "status": http_status, "headers": headers}
                )
                await self._send({"type": "http.response.body"})
        except OSError:
            raise GoneError from None


_CONTENT_TYPE = (b"content-type", b"application/grpc")
_ACCEPTED = (b"grpc-accept-encoding", ENCODINGS.encode())
_BEGIN = {
    "type": "http.response.start",
    "status": 200,
    "headers": [_CONTENT_TYPE],
    "trailers": True,
}
_END_OK = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


def _parse(kind: type[MessageT], body: bytes) -> MessageT:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise ProtocolError(
            grpc.StatusCode.INTERNAL, f"the request is not a {kind.DESCRIPTOR.full_name}"
        ) from None
