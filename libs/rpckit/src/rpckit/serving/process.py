"""A service as a process, on the host that its settings name.

Hosts are entry points of the group `rpckit.hosts`
(https://packaging.python.org/en/latest/specifications/entry-points/), so this package depends on no
host but its own. A distribution that brings another host registers a `RunHost` under its name.
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

from rpckit.addresses import join_host_port
from rpckit.errors import StartupError
from rpckit.observing.logs import configure_logging
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import SettingsT, Wire, serving

log = logging.getLogger(__name__)

HOSTS = "rpckit.hosts"
"""Entry point group; the name of an entry point is a value of the setting `server`."""


class RunHost(Protocol):
    """Runs a service until SIGTERM or SIGINT on one kind of host."""

    def __call__(self, name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
        """Run the service, and return the exit code of the process.

        Args:
            name: Name of the program.
            settings: Settings of the service.
            wire: Builds the service. It must be a module-level function, because a host may import
                it in another process.

        Raises:
            StartupError: The service cannot start.
        """
        ...


def run(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
    """Run a service until SIGTERM or SIGINT.

    Args:
        name: Name of the program, for logs, metrics and error messages.
        settings: Settings of the service.
        wire: Builds the service; a module-level function.

    Returns:
        The exit code of the process: 0 after a signal, 1 if the service could not start.
    """
    configure_logging(settings.log_level, settings.log_format, name)
    try:
        return find_host(settings.server)(name, settings, wire)
    except StartupError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except KeyboardInterrupt:  # before the signal handlers were set
        return 130


def find_host(name: str) -> RunHost:
    """Return the host that is registered under a name.

    Raises:
        StartupError: No such host is installed.
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


def freeze_gc() -> None:
    """Exempt all objects that exist after the start from garbage collection.

    They live until the process ends. An embedder has 110,000 of them, most of Paddle, and each full
    collection takes 60 ms for them. Without, it answers 15 % more EmbedUsers a second.
    """
    gc.collect()
    gc.freeze()


async def _serve_until_signal(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> None:
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        telemetry = stack.enter_context(Telemetry.open(name, settings))
        async with serving(settings, wire, telemetry) as server:
            freeze_gc()
            log.info("listening on %s", join_host_port(settings.host, server.port))
            loop = asyncio.get_running_loop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, stop.set)
            await stop.wait()
