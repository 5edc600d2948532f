"""The process that the user starts: starts Envoy, sends it the service to run, and waits."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from pyvoy._server import get_envoy_environ, get_envoy_path  # as its own command does

from rpckit.addresses import resolve_free_address
from rpckit.errors import StartupError
from rpckit.settings.server import ServerSettings
from rpckit_envoy.control_socket import FD_VARIABLE, SupervisorSocket
from rpckit_envoy.envoy_config import ARGUMENTS, EnvoyServer
from rpckit_envoy.launch_spec import LaunchSpec

log = logging.getLogger(__name__)


class EnvoyProcess:
    """An Envoy process that runs a service."""

    def __init__(self, name: str, settings: ServerSettings, wire: Callable[..., Any]) -> None:
        """Start Envoy; it does not listen yet.

        Args:
            name: Name of the program.
            settings: Settings of the service.
            wire: Builds the service; a module-level function, because Envoy's process imports it.

        Raises:
            StartupError: The port is taken, or the address or a TLS file is invalid.
        """
        address = resolve_free_address(settings.host, settings.port)
        self._run_dir = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
        run_dir = Path(self._run_dir.name)
        self._control = SupervisorSocket()
        self._stop_requested = False
        self._is_listening = False
        self.was_killed = False
        """Whether `stop` killed it, because it did not listen yet and had no calls."""
        config = EnvoyServer(settings, address, run_dir).get_envoy_config()
        with self._control.child as child:
            self._process = subprocess.Popen(  # noqa: S603
                [get_envoy_path(), *ARGUMENTS, "--config-yaml", json.dumps(config)],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **get_envoy_environ(), FD_VARIABLE: str(child.fileno())},
                pass_fds=[child.fileno()],
                process_group=0,  # ^C in a terminal must reach this process alone
            )
        self._control.send(LaunchSpec.of(name, settings, wire, run_dir))

    def wait_until_listening(self) -> int:
        """Wait until Envoy listens, and return the port; 0 if it was stopped before.

        Raises:
            StartupError: The service cannot start.
        """
        try:
            port = self._control.receive_port()
        except StartupError:
            self.wait()
            raise
        if port is None:
            code = self.wait()
            if not self._stop_requested:
                raise StartupError(f"Envoy ended with status {code} before it listened")
        self._is_listening = port is not None
        return port or 0

    def stop(self) -> None:
        """Request the two-phase stop and return; kill Envoy if it does not listen yet."""
        self._stop_requested = True
        if self._is_listening:
            self._control.request_stop()
        else:
            self.was_killed = True
            self._process.kill()

    def wait(self) -> int:
        """Wait until Envoy has ended, and return its exit code; negative if a signal killed it."""
        code = self._process.wait()
        self._control.close()
        self._run_dir.cleanup()
        return code


def run_on_envoy(name: str, settings: ServerSettings, wire: Callable[..., Any]) -> int:
    """Run a service inside Envoy until SIGTERM or SIGINT.

    Args:
        name: Name of the program, for logs and metrics.
        settings: Settings of the service.
        wire: Builds the service; a module-level function.

    Returns:
        The exit code of the process: 0 after a signal, 1 if Envoy ended without one.

    Raises:
        StartupError: The service cannot start.
    """
    process = EnvoyProcess(name, settings, wire)
    signals: list[int] = []

    def stop(signum: int, _frame: FrameType | None) -> None:
        signals.append(signum)
        process.stop()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    process.wait_until_listening()
    code = process.wait()
    if signals and (code == 0 or process.was_killed):
        return 0
    log.error("Envoy ended with status %d", code)
    return 1
