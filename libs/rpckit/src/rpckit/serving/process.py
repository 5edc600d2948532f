"""Run a service as a process, on the host that its settings name.

Hosts are found by entry point, so that this package depends on none but its own: a distribution
that brings another one registers it in the group `rpckit.hosts`
(https://packaging.python.org/en/latest/specifications/entry-points/).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from importlib.metadata import entry_points
from typing import Protocol, cast

import uvloop

from rpckit.errors import StartupError
from rpckit.observing.logs import configure_logging
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import SettingsT, Wire, serving

log = logging.getLogger(__name__)

HOSTS = "rpckit.hosts"
"""Group of the entry points; the name of one is a value of the setting `server`."""


class RunHost(Protocol):
    """Runs a service until SIGTERM or SIGINT on one kind of host."""

    def __call__(self, name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
        """Return the exit code of the process.

        Args:
            name: Name of the program.
            settings: Its settings.
            wire: Builds its parts; a function of a module, as another process may import it.

        Raises:
            StartupError: The service cannot start.
        """
        ...


def run(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
    """Run a service until SIGTERM or SIGINT.

    Args:
        name: Name of the program, for logs, metrics and error lines.
        settings: Its settings.
        wire: Builds its parts.

    Returns:
        The process's exit code: 0 after a signal, 1 where it could not start.
    """
    configure_logging(settings.log_level, settings.log_format, name)
    try:
        return find_host(settings.server)(name, settings, wire)
    except StartupError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except KeyboardInterrupt:  # before anything was served
        return 130


def find_host(name: str) -> RunHost:
    """Return what runs services on the host of a name.

    Raises:
        StartupError: No host of this name is installed.
    """
    installed = entry_points(group=HOSTS)
    if name not in installed.names:
        known = ", ".join(sorted(installed.names))
        raise StartupError(f"server {name} is not installed; installed are: {known}")
    try:
        return cast(RunHost, installed[name].load())
    except ModuleNotFoundError as error:
        raise StartupError(f"server {name} is not installed completely: {error}") from error


def run_on_grpcio(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
    """Run a service on grpc.aio and uvloop; see `RunHost`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(name, settings, wire))
    return 0


def exempt_from_collection() -> None:
    """Keep garbage collections from going through what a started process holds until its end.

    An embedder holds all of Paddle, 110,000 objects that a full collection takes 60 ms for, again
    and again under load: without them it answers 15 % more EmbedUsers a second.
    """
    gc.collect()
    gc.freeze()


async def _serve_until_signal(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> None:
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        telemetry = stack.enter_context(Telemetry.open(name, settings))
        async with serving(settings, wire, telemetry) as server:
            exempt_from_collection()
            log.info("listening on %s:%d", settings.host, server.port)
            loop = asyncio.get_running_loop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, stop.set)
            await stop.wait()
