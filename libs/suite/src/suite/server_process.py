"""A child process that is a gRPC server."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

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
            name: What people call it.
            module: Package or module that runs it.
            port: Port that it listens on.
            arguments: Its other flags.
            host: Address that it listens on.
            startup_service: Full name of the gRPC service that is ready once the server has
                started; "": it need only be alive.
            endpoint: How it is called. None: in the clear, without a token.
        """
        address = ["--host", host, "--port", str(port)]
        super().__init__(name, [sys.executable, "-m", module, *address, *arguments])
        self.endpoint = endpoint or ClientSettings(target=f"{host}:{port}")
        """How it is called."""
        self._startup_service = startup_service

    def __str__(self) -> str:
        return f"the {self.name} at {self.target}"

    @property
    def target(self) -> str:
        """Where it listens."""
        return self.endpoint.target

    def is_serving(self, service: str) -> bool:
        """Ask it once whether a gRPC service is ready; "" asks whether it is alive."""
        return is_serving(self.endpoint, service)

    def wait_until_started(self, *, beside: Iterable[ChildProcess] = ()) -> None:
        """Wait until what it starts with is ready; see `wait_until_serving`."""
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
            service: Its full name; "" asks whether the server is alive.
            seconds: Longest that it may take.
            beside: Other processes that must not end meanwhile.

        Raises:
            ProcessError: A process ended, or it took too long.
            Interrupted: This process is to stop.
        """
        self.wait_until(lambda: self.is_serving(service), seconds, beside=beside)

    @contextmanager
    def running(
        self, environment: Mapping[str, str] | None = None, *, log: Path | None = None
    ) -> Iterator[ServerProcess]:
        """Run it; it has started inside, and is stopped on leaving.

        Args:
            environment: All its environment variables. None: this process's.
            log: File that takes what it writes.

        Raises:
            ProcessError: It ended or took too long.
        """
        self.start(environment, log=log)
        try:
            self.wait_until_started()
            yield self
        finally:
            self.stop()
