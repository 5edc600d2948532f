"""What the supervisor and the application inside Envoy say to each other, over a socket pair.

The supervisor hands over what to run. The application tells its port once Envoy listens, or why it
cannot start. Then both only watch whether the other's end is open: closing it is the supervisor's
wish that the application stop, and as the system closes it where the supervisor dies, Envoy never
outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import pickle
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpckit.errors import StartupError
from rpckit.settings.server import ServerSettings

ENV_FD = "RPCKIT_ENVOY_CONTROL_FD"
"""Environment variable that names the application's end."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What the application is to run."""

    name: str
    """Name of the program."""
    settings_class: str
    """Where the class of the settings is: `module:name`."""
    values: dict[str, Any]
    """The settings' fields."""
    wire: str
    """Where the function that builds the service is: `module:name`."""
    run_dir: Path
    """Directory of files that this pair of processes shares; nobody else can open it."""

    @classmethod
    def of(
        cls, name: str, settings: ServerSettings, wire: Callable[..., Any], run_dir: Path
    ) -> Errand:
        """Put down what to run so that a process of other modules can read it."""
        return cls(name, locate(type(settings)), dict(settings), locate(wire), run_dir)

    def settings(self) -> ServerSettings:
        """Return the settings; they are not read from the environment again."""
        made: ServerSettings = load(self.settings_class).model_construct(**self.values)
        return made


class Supervisor:
    """The supervisor's end. Blocks: the supervisor has nothing else to do."""

    def __init__(self) -> None:
        """Open both ends; `child` is to be passed on and then closed here."""
        self._socket, self.child = socket.socketpair()

    def send(self, errand: Errand) -> None:
        """Hand over what to run."""
        payload = pickle.dumps(errand)
        with contextlib.suppress(OSError):  # it has died; `receive_port` will tell
            self._socket.sendall(len(payload).to_bytes(4, "big") + payload)

    def receive_port(self) -> int | None:
        """Wait until Envoy listens, and return the port; None where it ended without a word.

        Raises:
            StartupError: The application cannot start.
        """
        line = b""
        # A reset is an end too: Envoy died before the errand was read.
        with contextlib.suppress(ConnectionResetError), self._socket.makefile("rb") as lines:
            line = lines.readline()
        if not line:
            return None
        report = json.loads(line)
        if "error" in report:
            raise StartupError(report["error"])
        return int(report["port"])

    def ask_to_stop(self) -> None:
        """Let the application stop."""
        with contextlib.suppress(OSError):  # it has died
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()


class Application:
    """The application's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an open end."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls) -> Application:
        """Open the end that the environment names."""
        end = socket.socket(fileno=int(os.environ.pop(ENV_FD)))
        end.set_inheritable(False)  # children of the service would hold it open
        return cls(*await asyncio.open_connection(sock=end))

    async def receive(self) -> Errand:
        """Return what to run."""
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        errand = pickle.loads(await self._reader.readexactly(size))  # noqa: S301 - from our parent
        assert isinstance(errand, Errand)  # noqa: S101
        return errand

    async def send_port(self, port: int) -> None:
        """Tell that Envoy listens."""
        await self._send({"port": port})

    async def send_error(self, message: str) -> None:
        """Tell why the application cannot start."""
        await self._send({"error": message})

    async def wait_for_stop(self) -> None:
        """Wait until the application is to stop, or the supervisor has died."""
        await self._reader.read()

    async def _send(self, report: dict[str, Any]) -> None:
        self._writer.write(json.dumps(report).encode() + b"\n")
        await self._writer.drain()


def locate(thing: type | Callable[..., Any]) -> str:
    """Return where another process can import a class or function from: `module:name`."""
    module = thing.__module__
    if module == "__main__":  # begun with `python -m`, whose module has a name of its own
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec is not None else module
    return f"{module}:{thing.__qualname__}"


def load(location: str) -> Any:
    """Import what `locate` named."""
    module, _, name = location.partition(":")
    return getattr(importlib.import_module(module), name)
