"""A child process that is a gRPC server."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rpckit.addresses import join_host_port
from rpckit.settings.client import ClientSettings
from suite.health import is_serving
from suite.ports import LOOPBACK
from suite.process import START_SECONDS, ChildProcess
from suite.services import LIVENESS


class ServerProcess(ChildProcess):
    """A gRPC server, run as `python -m MODULE --host HOST --port PORT`."""

    def __init__(
        self,
        name: str,
        module: str,
        port: int,
        arguments: Sequence[str] = (),
        *,
        host: str = LOOPBACK,
        startup_service: str = LIVENESS,
        endpoint: ClientSettings | None = None,
    ) -> None:
        """Describe a server; nothing runs yet.

        Args:
            name: Name in messages and logs.
            module: Module that `python -m` runs.
            port: Port that it listens on.
            arguments: Its other flags.
            host: Address that it listens on.
            startup_service: Full name of the gRPC service that is ready once the server has
                started; "": it need only be alive.
            endpoint: Client settings to call it. None: without TLS and token.
        """
        address = ["--host", host, "--port", str(port)]
        super().__init__(name, [sys.executable, "-m", module, *address, *arguments])
        self.endpoint = endpoint or ClientSettings(target=join_host_port(host, port))
        """Client settings to call it."""
        self._startup_service = startup_service

    def __str__(self) -> str:
        return f"the {self.name} at {self.target}"

    @property
    def target(self) -> str:
        """Address that it listens on."""
        return self.endpoint.target

    def is_serving(self, service: str) -> bool:
        """Return whether a gRPC service is ready; "" checks that the server is alive."""
        return is_serving(self.endpoint, service)

    def wait_until_started(self, *, beside: Iterable[ChildProcess] = ()) -> None:
        """Wait until its startup service is ready; see `wait_until_serving`."""
        self.wait_until_serving(self._startup_service, beside=beside)

    def wait_until_serving(
        self,
        service: str,
        seconds: float = START_SECONDS,
        *,
        beside: Iterable[ChildProcess] = (),
    ) -> None:
        """Wait until a gRPC service is ready.

        Args:
            service: Full name; "" checks that the server is alive.
            seconds: Longest time to wait.
            beside: Other processes that must not end meanwhile.

        Raises:
            ProcessError: A process ended, or it took too long.
            Interrupted: This process was asked to stop.
        """
        self.wait_until(lambda: self.is_serving(service), seconds, beside=beside)

    @contextmanager
    def running(
        self, environment: Mapping[str, str] | None = None, *, log: Path | None = None
    ) -> Iterator[ServerProcess]:
        """Run the server during the block.

        Args:
            environment: All its environment variables. None: this process's.
            log: File for its output.

        Raises:
            ProcessError: It ended or took too long.
        """
        self.start(environment, log=log)
        try:
            self.wait_until_started()
            yield self
        finally:
            self.stop()
