from __future__ import annotations

import struct

from loadtest.wire.connection import Connection, Method
from loadtest.wire.headers import encode

METHOD = Method("a.B/C", authority="x:1", scheme="http", metadata=(), timeout=1.5)
HEADERS = encode([(":status", "200"), ("content-type", "application/grpc")])
OK = encode([("grpc-status", "0")])


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def answer(stream: int, message: bytes = b"hello", trailers: bytes = OK) -> bytes:
    data = b"\0" + struct.pack(">I", len(message)) + message
    return frame(1, 4, stream, HEADERS) + frame(0, 0, stream, data) + frame(1, 5, stream, trailers)


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        kind, flags, stream = struct.unpack(">BBI", data[at + 3 : at + 9])
        found.append((kind, flags, stream, bytes(data[at + 9 : at + 9 + length])))
        at += 9 + length
    return found


def connected() -> Connection:
    connection = Connection()
    connection.out.clear()
    return connection


def call(connection: Connection, message: bytes = b"") -> list[int]:
    statuses: list[int] = []
    connection.call(METHOD, message, statuses.append)
    return statuses


def sent_data(connection: Connection) -> int:
    return sum(len(payload) for kind, _, _, payload in frames(connection.out) if kind == 0)


def test_it_begins_with_the_preface_and_no_dynamic_table() -> None:
    out = bytes(Connection().out)
    assert out.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    (settings, _) = frames(out[24:])
    assert settings[0] == 4
    assert (1, 0) in struct.iter_unpack(">HI", settings[3])


def test_a_call_is_headers_and_one_length_prefixed_message() -> None:
    connection = connected()
    call(connection, b"abc")
    headers, data = frames(connection.out)
    assert headers[:3] == (1, 4, 1)
    assert b"grpc-timeout" in headers[3]
    assert b"1500m" in headers[3]
    assert data == (0, 1, 1, b"\0\0\0\0\3abc")


def test_answers_may_come_in_any_order_and_in_any_pieces() -> None:
    connection = connected()
    first, second = call(connection), call(connection)
    bad = encode([("grpc-message", "no"), ("grpc-status", "8")])
    for byte in answer(3) + frame(1, 5, 1, bad):
        connection.receive(bytes([byte]))
    assert (first, second) == ([8], [0])
    assert connection.open_calls == 0


def test_a_success_without_a_message_is_an_internal_error() -> None:
    connection = connected()
    statuses = call(connection)
    connection.receive(frame(1, 4, 1, HEADERS) + frame(1, 5, 1, OK))
    assert statuses == [13]


def test_an_answer_that_is_not_grpc_is_unknown() -> None:
    connection = connected()
    statuses = call(connection)
    connection.receive(frame(1, 5, 1, encode([(":status", "404")])))
    assert statuses == [2]


def test_trailers_may_be_padded_and_continued() -> None:
    connection = connected()
    statuses = call(connection)
    connection.receive(answer(1)[: -len(frame(1, 5, 1, OK))])
    connection.receive(frame(1, 1 | 8, 1, b"\2" + OK[:4] + b"\0\0") + frame(9, 4, 1, OK[4:]))
    assert statuses == [0]


def test_a_message_waits_for_the_window_of_the_connection() -> None:
    connection = connected()
    call(connection, bytes(100_000))
    assert sent_data(connection) == 65535
    connection.receive(frame(8, 0, 0, struct.pack(">I", 10_000)))
    assert sent_data(connection) == 65535  # the stream has its own
    connection.receive(frame(8, 0, 1, struct.pack(">I", 50_000)))
    assert sent_data(connection) == 75535
    connection.receive(frame(8, 0, 0, struct.pack(">I", 50_000)))
    assert sent_data(connection) == 100_005
    kind, flags, _, _ = frames(connection.out)[-1]
    assert (kind, flags) == (0, 1)


def test_frames_are_no_longer_than_allowed() -> None:
    connection = connected()
    call(connection, bytes(40_000))
    assert max(len(payload) for *_, payload in frames(connection.out)) == 16384


def test_calls_beyond_the_servers_limit_of_streams_wait() -> None:
    connection = connected()
    connection.receive(frame(4, 0, 0, struct.pack(">HI", 3, 1)))
    connection.out.clear()
    first, second = call(connection), call(connection)
    assert [kind for kind, *_ in frames(connection.out)] == [1, 0]
    connection.receive(answer(1))
    assert first == [0]
    connection.receive(answer(3))
    assert second == [0]


def test_pings_and_settings_are_acknowledged() -> None:
    connection = connected()
    connection.receive(frame(6, 0, 0, b"12345678") + frame(4, 0, 0))
    assert frames(connection.out) == [(6, 1, 0, b"12345678"), (4, 1, 0, b"")]


def test_a_server_that_leaves_finishes_what_it_took() -> None:
    connection = connected()
    taken, refused = call(connection), call(connection)
    connection.receive(frame(7, 0, 0, struct.pack(">II", 1, 0)))
    assert connection.draining
    assert (taken, refused) == ([], [14])
    connection.receive(answer(1))
    assert taken == [0]


def test_a_reset_call_is_unavailable_and_the_others_go_on() -> None:
    connection = connected()
    reset, other = call(connection), call(connection)
    connection.receive(frame(3, 0, 1, struct.pack(">I", 2)) + answer(3))
    assert (reset, other) == ([14], [0])


def test_a_call_that_the_server_refused_to_look_at_is_sent_again_when_another_ends() -> None:
    connection = connected()
    first, second = call(connection, b"one"), call(connection, b"two")
    connection.out.clear()
    connection.receive(frame(3, 0, 3, struct.pack(">I", 7)))
    assert not connection.out
    connection.receive(answer(1))
    assert [payload[5:] for kind, _, _, payload in frames(connection.out) if kind == 0] == [b"two"]
    connection.receive(answer(5))
    assert (first, second) == ([0], [0])


def test_a_broken_connection_fails_every_call_once() -> None:
    connection = connected()
    statuses = call(connection)
    connection.fail(14)
    connection.receive(answer(1))
    assert statuses == [14]
