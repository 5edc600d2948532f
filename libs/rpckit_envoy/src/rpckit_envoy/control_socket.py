"""The socket pair between the supervisor and the application inside Envoy.

The supervisor sends the launch spec. The application answers with its port once Envoy listens, or
with the reason why it cannot start. After that, each end only waits for the other to close. The
supervisor closes its end to stop the application; if the supervisor dies, the system closes it, so
Envoy never outlives the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import socket
from typing import Any

from rpckit.errors import StartupError
from rpckit_envoy.launch_spec import LaunchSpec

FD_VARIABLE = "RPCKIT_ENVOY_CONTROL_FD"
"""Environment variable with the file descriptor of the application's end."""


class SupervisorSocket:
    """The supervisor's end. It blocks, as the supervisor has nothing else to do."""

    def __init__(self) -> None:
        """Open both ends; pass `child` to the child process, then close it."""
        self._socket, self.child = socket.socketpair()

    def send(self, spec: LaunchSpec) -> None:
        """Send the service to run."""
        payload = pickle.dumps(spec)
        with contextlib.suppress(OSError):  # Envoy died; `receive_port` reports it
            self._socket.sendall(len(payload).to_bytes(4, "big") + payload)

    def receive_port(self) -> int | None:
        """Wait until Envoy listens, and return the port; None if it ended without an answer.

        Raises:
            StartupError: The application cannot start.
        """
        line = b""
        # Envoy may die before it reads the spec; then the connection is reset.
        with contextlib.suppress(ConnectionResetError), self._socket.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            return None
        report = json.loads(line)
        if "error" in report:
            raise StartupError(report["error"])
        return int(report["port"])

    def request_stop(self) -> None:
        """Tell the application to stop."""
        with contextlib.suppress(OSError):  # it is dead already
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class ApplicationSocket:
    """The application's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use an open end."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls) -> ApplicationSocket:
        """Open the end that the environment variable names."""
        end = socket.socket(fileno=int(os.environ.pop(FD_VARIABLE)))
        end.set_inheritable(False)  # child processes of the service would keep it open
        return cls(*await asyncio.open_connection(sock=end))

    async def receive(self) -> LaunchSpec:
        """Return the service to run."""
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        spec = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - from our parent
        assert isinstance(spec, LaunchSpec)  # noqa: S101
        return spec

    async def send_port(self, port: int) -> None:
        """Report that Envoy listens."""
        await self._send({"port": port})

    async def send_error(self, message: str) -> None:
        """Report why the application cannot start."""
        await self._send({"error": message})

    async def wait_for_stop(self) -> None:
        """Wait until the supervisor requests a stop, or dies."""
        await self._reader.read()

    async def _send(self, report: dict[str, Any]) -> None:
        self._writer.write(json.dumps(report).encode() + b"\n")
        await self._writer.drain()
