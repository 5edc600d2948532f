"""One HTTP/2 connection for unary gRPC calls, without I/O."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence

from loadtest.wire.headers import encode, grpc_status

Done = Callable[[int], None]
"""Called once, with the gRPC status code of a call."""

OK, UNKNOWN, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE = 0, 2, 8, 13, 14

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9
)  # fmt: skip
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _MAX_FRAME = 1, 2, 3, 4, 5
_REFUSED_STREAM = 7
_WINDOW = (1 << 31) - 1
_LAST_STREAM = (1 << 31) - 1
_FRAME = struct.Struct(">HBBBI")  # length in two parts, type, flags, stream


class Method:
    """A method on one connection: its headers, encoded once."""

    def __init__(
        self,
        path: str,
        *,
        authority: str,
        scheme: str,
        metadata: Sequence[tuple[str, str]],
        timeout: float,
    ) -> None:
        """Encode the headers that all calls share.

        Args:
            path: `package.Service/Rpc`.
            authority: Address of the server, as in `127.0.0.1:50050`.
            scheme: `http`, or `https` over TLS.
            metadata: Further header fields.
            timeout: Timeout of every call, in seconds.
        """
        self.block = encode(
            [
                (":method", "POST"),
                (":scheme", scheme),
                (":path", f"/{path}"),
                (":authority", authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", f"{max(1, round(timeout * 1000))}m"),
                ("user-agent", "marquee-loadtest"),
                *metadata,
            ]
        )


class Connection:
    """State of one connection: takes calls and received bytes, produces bytes to send."""

    def __init__(self) -> None:
        """Start with the preface of a client."""
        self.out = bytearray(_PREFACE)
        """Bytes to send; the sender removes what it has sent."""
        self.draining = False
        """Whether the server takes no new calls on this connection."""
        self.message_bytes = 0
        """Bytes of the messages received so far."""
        self._calls: dict[int, _Call] = {}
        self._waiting: deque[tuple[Method, bytes, Done]] = deque()
        self._uploads: dict[int, _Upload] = {}
        self._statuses: dict[bytes, int | None] = {}
        self._next_stream = 1
        self._received = b""
        self._block: tuple[int, bool, bytes] | None = None
        self._window, self._stream_window = 65535, 65535
        self._max_frame, self._max_streams = 16384, 1 << 30
        self._unacknowledged = 0
        settings = ((_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, _WINDOW))
        self._frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in settings))
        self._frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - 65535))

    @property
    def open_calls(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls) + len(self._waiting)

    def call(self, method: Method, message: bytes, done: Done) -> None:
        """Start a call, or queue it while the server allows no more streams.

        Args:
            method: Method to call.
            message: Serialised request.
            done: Called with the status at the end.
        """
        if len(self._calls) >= self._max_streams:
            self._waiting.append((method, message, done))
            return
        stream = self._next_stream
        self._next_stream = stream + 2
        if self._next_stream >= _LAST_STREAM:
            self.draining = True
        self._calls[stream] = _Call(method, message, done)
        length = len(message) + 5
        self._frame(_HEADERS, _END_HEADERS, stream, method.block)
        data = b"\0" + struct.pack(">I", length - 5) + message
        if length <= min(self._window, self._stream_window, self._max_frame) and not self._uploads:
            self._window -= length
            self._frame(_DATA, _END_STREAM, stream, data)
        else:
            self._uploads[stream] = _Upload(memoryview(data), self._stream_window)
            self._upload()

    def receive(self, data: bytes) -> None:
        """Process received bytes; calls `done` of each finished call.

        Raises:
            HPACKError: The server's headers cannot be read.
        """
        data = self._received + data if self._received else data
        at, end = 0, len(data)
        while end - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if end - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & _LAST_STREAM
            at += 9
            if kind == _DATA:
                self._on_data(stream, flags, length)
            else:
                self._on_frame(kind, flags, stream, data[at : at + length])
            at += length
        self._received = data[at:]

    def fail(self, status: int) -> None:
        """End every call with a status; the connection cannot be used again."""
        self.draining = True
        calls, self._calls = self._calls, {}
        waiting, self._waiting = self._waiting, deque()
        self._uploads.clear()
        for call in calls.values():
            call.done(status)
        for _, _, done in waiting:
            done(status)

    def _on_data(self, stream: int, flags: int, length: int) -> None:
        self._unacknowledged += length
        if self._unacknowledged > 1 << 30:
            self._frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged))
            self._unacknowledged = 0
        call = self._calls.get(stream)
        if call:
            call.answered = call.answered or length > 0
            self.message_bytes += length
            if flags & _END_STREAM:  # a gRPC response must end with trailers
                self._finish(stream, UNKNOWN)

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS:
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & _PRIORITY:
                payload = payload[5:]
            self._on_block(stream, bool(flags & _END_STREAM), flags, payload)
        elif kind == _CONTINUATION and self._block:
            stream, ends, begun = self._block
            self._on_block(stream, ends, flags, begun + payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._on_settings(payload)
        elif kind == _WINDOW_UPDATE:
            self._on_window_update(stream, int.from_bytes(payload, "big") & _LAST_STREAM)
        elif kind == _PING and not flags & _ACK:
            self._frame(_PING, _ACK, 0, payload)
        elif kind == _RST_STREAM:
            self._on_reset(stream, int.from_bytes(payload, "big"))
        elif kind == _GOAWAY:
            self._on_goaway(int.from_bytes(payload[:4], "big") & _LAST_STREAM)

    def _on_reset(self, stream: int, reason: int) -> None:
        if reason != _REFUSED_STREAM or self.draining:
            self._finish(stream, UNAVAILABLE)
        elif call := self._calls.pop(stream, None):
            # The server has not looked at it, so it is sent again, as gRPC's own clients do.
            self._uploads.pop(stream, None)
            self._waiting.append((call.method, call.message, call.done))
            if not self._calls:
                self._admit()

    def _on_block(self, stream: int, ends: bool, flags: int, block: bytes) -> None:
        if not flags & _END_HEADERS:
            self._block = (stream, ends, block)
            return
        self._block = None
        if not ends:
            return
        if block in self._statuses:  # nearly always: all successes have the same trailers
            status = self._statuses[block]
        else:
            status = grpc_status(block)
            if len(self._statuses) < 1000:
                self._statuses[block] = status
        call = self._calls.get(stream)
        if status == OK and call and not call.answered:
            status = INTERNAL  # a success without a message
        self._finish(stream, UNKNOWN if status is None else status)

    def _on_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW:
                for upload in self._uploads.values():
                    upload.window += value - self._stream_window
                self._stream_window = value
            elif name == _MAX_FRAME:
                self._max_frame = value
            elif name == _MAX_STREAMS:
                self._max_streams = value
        self._frame(_SETTINGS, _ACK, 0, b"")
        self._upload()
        self._admit()

    def _on_window_update(self, stream: int, increment: int) -> None:
        if stream == 0:
            self._window += increment
        elif stream in self._uploads:
            self._uploads[stream].window += increment
        if self._uploads:
            self._upload()

    def _on_goaway(self, last: int) -> None:
        self.draining = True
        for stream in [stream for stream in self._calls if stream > last]:
            self._finish(stream, UNAVAILABLE)
        waiting, self._waiting = self._waiting, deque()
        for _, _, done in waiting:
            done(UNAVAILABLE)

    def _finish(self, stream: int, status: int) -> None:
        call = self._calls.pop(stream, None)
        self._uploads.pop(stream, None)
        if call:
            call.done(status)
            if self._waiting:
                self._admit()

    def _admit(self) -> None:
        while self._waiting and len(self._calls) < self._max_streams:
            self.call(*self._waiting.popleft())

    def _upload(self) -> None:
        """Send as much of the waiting bodies as the server's windows allow."""
        for stream, upload in list(self._uploads.items()):
            if self._window <= 0:
                return
            while upload.data and (room := min(self._window, upload.window, self._max_frame)) > 0:
                part, upload.data = upload.data[:room], upload.data[room:]
                self._window -= len(part)
                upload.window -= len(part)
                self._frame(_DATA, 0 if upload.data else _END_STREAM, stream, part)
            if not upload.data:
                del self._uploads[stream]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes | memoryview) -> None:
        length = len(payload)
        self.out += _FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream)
        self.out += payload


class _Call:
    __slots__ = ("answered", "done", "message", "method")

    def __init__(self, method: Method, message: bytes, done: Done) -> None:
        self.method = method
        self.message = message
        self.done = done
        self.answered = False


class _Upload:
    __slots__ = ("data", "window")

    def __init__(self, data: memoryview, window: int) -> None:
        self.data = data
        self.window = window
