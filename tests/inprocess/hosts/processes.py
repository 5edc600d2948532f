"""Processes of the puppet service (tests/fixtures/puppet.py), and channels to them."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from marquee.embedder.v1 import embedder_pb2 as pb
from suite.process import ChildProcess

ROOT = Path(__file__).parents[3]
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class PuppetProcess(ChildProcess):
    """A server, and what it writes."""

    def __init__(self, server: str, log: Path, **settings: object) -> None:
        settings = {"server": server, "shutdown_delay_s": 0, **settings}
        variables = {f"MARQUEE_PUPPET_{name.upper()}": str(settings[name]) for name in settings}
        super().__init__("puppet", [sys.executable, "-m", "tests.fixtures.puppet"])
        self._written = log
        self.start({**os.environ, "PYTHONPATH": str(ROOT), **variables}, log=log)

    @property
    def log(self) -> str:
        return self._written.read_text()

    @property
    def target(self) -> str:
        """Where it listens, once it does."""
        listening = re.compile(r'listening on ([^\s"]+)')
        self.wait_until(lambda: listening.search(self.log) is not None, 30)
        return listening.search(self.log)[1]

    def stop_by(self, signum: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.send_signal(signum)
        return self.wait(20)


def memory_mib(puppet: PuppetProcess) -> float:
    """Return the resident memory of a server, of all its processes."""
    first = psutil.Process(puppet.pid)
    processes = [first, *first.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / (1 << 20)


@asynccontextmanager
async def connected(
    target: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    # A connection of the test's own: channels with the same arguments share theirs.
    options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.insecure_channel(target, options)
        if credentials is None
        else grpc.aio.secure_channel(
            target, credentials, [*options, ("grpc.ssl_target_name_override", "puppet.test")]
        )
    )
    async with channel:
        yield channel


def reflect(channel: grpc.aio.Channel, version: str = "v1") -> grpc.aio.StreamStreamCall:
    """Open a stream of reflection; the messages of both versions are the same."""
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )()


def command(text: str) -> pb.EmbedMoviesRequest:
    return pb.EmbedMoviesRequest(movies=[{"title": text}])
