"""Clients that never read what they asked for delay nobody else, on either host."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Encoder
from tests.fixtures.puppet import SERVICE
from tests.inprocess.hosts.processes import (
    NOT_SERVING,
    SERVING,
    PuppetProcess,
    command,
    connected,
)

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub

Request = health_pb2.HealthCheckRequest
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
WATCHES = 8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@contextmanager
def silent_watches(target: str) -> Iterator[None]:
    """Watch the service over HTTP/2 with a window of 0, and read nothing."""
    message = Request(service=SERVICE.full_name).SerializeToString()
    host, _, port = target.rpartition(":")
    encoder = Encoder()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        window = struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)
        sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, window)
        for stream in range(1, 2 * WATCHES, 2):
            headers = encoder.encode(
                [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/grpc.health.v1.Health/Watch"),
                    (":authority", target),
                    ("te", "trailers"),
                    ("content-type", "application/grpc"),
                ]
            )
            sent += frame(HEADERS, END_HEADERS, stream, headers)
            body = b"\0" + struct.pack(">I", len(message)) + message
            sent += frame(DATA, END_STREAM, stream, body)
        connection.sendall(sent)
        time.sleep(0.5)  # until the server has begun to write
        yield


@pytest.fixture
async def puppet(start: Callable[..., PuppetProcess]) -> PuppetProcess:
    return start()


@pytest.fixture
async def channel(puppet: PuppetProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with connected(puppet.target) as channel:
        yield channel


async def test_other_watches_and_checks_hear_of_changes_beside_silent_ones(
    puppet: PuppetProcess, channel: grpc.aio.Channel
) -> None:
    stub, health = EmbedderServiceStub(channel), health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(Request(service=SERVICE.full_name))
    assert (await watch.read()).status == SERVING
    with silent_watches(puppet.target):
        for said, seen in (("no", NOT_SERVING), ("yes", SERVING)):
            await stub.EmbedMovies(command(f"ready {said}"))
            async with asyncio.timeout(2):
                assert (await watch.read()).status == seen
            assert (await health.Check(Request(service=SERVICE.full_name))).status == seen
    watch.cancel()


async def test_a_stop_does_not_wait_for_who_does_not_read(
    puppet: PuppetProcess, channel: grpc.aio.Channel
) -> None:
    await EmbedderServiceStub(channel).EmbedMovies(command("echo x"))
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(silent_watches(puppet.target))
        started = time.monotonic()
        assert await asyncio.to_thread(puppet.stop_by, signal.SIGTERM) == 0
        assert time.monotonic() - started < 6  # the grace is 20 s
