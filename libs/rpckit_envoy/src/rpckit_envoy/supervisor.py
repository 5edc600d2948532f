"""The process that is started and gets the signals: starts Envoy, hands it its errand, waits."""

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

from pyvoy._server import get_envoy_environ, get_envoy_path  # what the pyvoy command uses

from rpckit.addresses import resolve_free_address
from rpckit.errors import StartupError
from rpckit.settings.server import ServerSettings
from rpckit_envoy import control_socket as control
from rpckit_envoy.envoy_config import ARGUMENTS, EnvoyServer

log = logging.getLogger(__name__)


class EnvoyProcess:
    """A service inside Envoy, seen from outside."""

    def __init__(self, name: str, settings: ServerSettings, wire: Callable[..., Any]) -> None:
        """Start it; it does not listen yet.

        Args:
            name: Name of the program.
            settings: Its settings.
            wire: Builds its parts; a function of a module, as the other process imports it.

        Raises:
            StartupError: The port is taken, or the address or a TLS file is no good.
        """
        address = resolve_free_address(settings.host, settings.port)
        self._shared = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
        run_dir = Path(self._shared.name)
        self._control = control.Supervisor()
        self._asked_to_stop = False
        self._is_listening = False
        self.was_killed = False
        """Whether it was stopped before it listened, when nothing has to be finished."""
        config = EnvoyServer(settings, address, run_dir).get_envoy_config()
        with self._control.child as child:
            self._process = subprocess.Popen(  # noqa: S603
                [get_envoy_path(), *ARGUMENTS, "--config-yaml", json.dumps(config)],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **get_envoy_environ(), control.ENV_FD: str(child.fileno())},
                pass_fds=[child.fileno()],
                process_group=0,  # a terminal's ^C is for this process alone
            )
        self._control.send(control.Errand.of(name, settings, wire, run_dir))

    def wait_until_listening(self) -> int:
        """Return the port, once Envoy listens; 0 where it was stopped before.

        Raises:
            StartupError: It could not start.
        """
        try:
            port = self._control.receive_port()
        except StartupError:
            self.wait()
            raise
        if port is None:
            code = self.wait()
            if not self._asked_to_stop:
                raise StartupError(f"Envoy ended with status {code} before it listened")
        self._is_listening = port is not None
        return port or 0

    def stop(self) -> None:
        """Begin the two-phase stop and return; kill what does not listen yet."""
        self._asked_to_stop = True
        if self._is_listening:
            self._control.ask_to_stop()
        else:
            self.was_killed = True
            self._process.kill()

    def wait(self) -> int:
        """Wait until Envoy has ended, and return its exit code; of a signal, less than 0."""
        code = self._process.wait()
        self._control.close()
        self._shared.cleanup()
        return code


def run_on_envoy(name: str, settings: ServerSettings, wire: Callable[..., Any]) -> int:
    """Run a service inside Envoy until SIGTERM or SIGINT.

    Args:
        name: Name of the program, for logs and metrics.
        settings: Its settings.
        wire: Builds its parts; a function of a module.

    Returns:
        The process's exit code: 0 after a signal, 1 where Envoy ended without one.

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
