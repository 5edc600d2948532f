"""One gRPC call as ASGI events, unary or streaming in either direction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from rpckit_envoy.active_calls import ActiveCall
from rpckit_envoy.protocol import (
    ENCODINGS,
    ClientDisconnectedError,
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
    """One call; has the methods of `grpc.aio.ServicerContext` that grpcio's own servicers use."""

    __slots__ = ("_active_call", "_headers_sent", "_reader", "_send", "metadata")

    def __init__(
        self,
        headers: Headers,
        receive: Receive,
        send: Send,
        active_call: ActiveCall,
        max_bytes: int,
    ) -> None:
        """Wrap an ASGI call; nothing is read or sent yet.

        Args:
            headers: Headers of the ASGI call.
            receive: The `receive` of the ASGI call.
            send: The `send` of the ASGI call.
            active_call: Tracks the call.
            max_bytes: Largest size of a request message.
        """
        self.metadata = Metadata(headers)
        self._reader = MessageReader(receive, max_bytes)
        self._send = send
        self._active_call = active_call
        self._headers_sent = False

    def open(self) -> None:
        """Check the content type, and read the compression of the request.

        Raises:
            ProtocolError: This is not a gRPC call.
        """
        if not str(self.metadata.get("content-type")).startswith("application/grpc"):
            raise ProtocolError(
                grpc.StatusCode.UNKNOWN, "the content type is not application/grpc", http_status=415
            )
        self._reader.encoding = str(self.metadata.get("grpc-encoding", "identity"))

    async def body(self) -> bytes:
        """Return the serialized request of a call that has exactly one.

        Raises:
            ProtocolError: See MessageReader.
            ClientDisconnectedError: The caller disconnected.
        """
        body = await self._reader.read_only()
        self._active_call.request_is_complete()
        return body

    async def request(self, kind: type[MessageT]) -> MessageT:
        """Return the request of a call that has exactly one; raises as `body` does."""
        return _parse(kind, await self.body())

    async def requests(self, kind: type[MessageT]) -> AsyncIterator[MessageT]:
        """Yield the requests of a streaming call; raises as `body` does."""
        while (body := await self._reader.read()) is not None:
            yield _parse(kind, body)
        self._active_call.request_is_complete()

    async def answer(self, response: bytes) -> None:
        """Send the single, serialized response, and end the call with OK.

        Raises:
            ClientDisconnectedError: The caller disconnected.
        """
        try:
            self._headers_sent = True
            await self._send(_START)
            await self._send({"type": "http.response.body", "body": frame(response)})
            await self._send(_END_OK)
        except OSError:
            raise ClientDisconnectedError from None

    async def write(self, message: Message) -> None:
        """Send one of many responses; waits while the caller reads more slowly (backpressure).

        Raises:
            ClientDisconnectedError: The caller disconnected.
        """
        try:
            if not self._headers_sent:
                self._headers_sent = True
                await self._send(_START)
            body = frame(message.SerializeToString())
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except OSError:
            raise ClientDisconnectedError from None

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status, from within a servicer."""
        raise ProtocolError(code, details)

    async def finish(self, status: status_pb2.Status, http_status: int = 200) -> None:
        """End a call that `answer` has not ended.

        Args:
            status: The gRPC status.
            http_status: The HTTP status, for callers that do not speak gRPC.

        Raises:
            ClientDisconnectedError: The caller disconnected.
        """
        try:
            if self._headers_sent:
                await self._send({"type": "http.response.body"})
                await self._send({"type": "http.response.trailers", "headers": trailers(status)})
            else:  # gRPC's Trailers-Only: the status is in the headers
                headers = [_CONTENT_TYPE, _ACCEPTED, *trailers(status)]
                await self._send(
                    {"type": "http.response.start", "status": http_status, "headers": headers}
                )
                await self._send({"type": "http.response.body"})
        except OSError:
            raise ClientDisconnectedError from None


_CONTENT_TYPE = (b"content-type", b"application/grpc")
_ACCEPTED = (b"grpc-accept-encoding", ENCODINGS.encode())
_START = {
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
