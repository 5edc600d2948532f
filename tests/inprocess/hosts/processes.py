"""Processes of the puppet service (tests/fixtures/puppet.py), and channels to them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from marquee.embedder.v1 import embedder_pb2 as pb

ROOT = Path(__file__).parents[3]
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class PuppetProcess:
    """A server, and what it writes to stderr."""

    def __init__(self, host: str, log: Path, **settings: object) -> None:
        settings = {"server": host, "shutdown_delay_s": 0, **settings}
        variables = {f"MARQUEE_PUPPET_{name.upper()}": str(settings[name]) for name in settings}
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fixtures.puppet"],
                cwd=ROOT,
                env={**os.environ, **variables},
                stderr=stderr,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def target(self) -> str:
        """Where it listens, once it does."""
        for _ in range(1500):
            if match := re.search(r"listening on (127\.0\.0\.1:\d+)", self.log):
                return match[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.fail(f"it does not listen: {self.log}")

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(20)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


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


def command(text: str) -> pb.EmbedMoviesRequest:
    return pb.EmbedMoviesRequest(movies=[{"title": text}])
