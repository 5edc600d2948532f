"""The suite: the three services as child processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from rpckit.settings.client import ClientSettings
from suite.interruption import Interrupted, raise_if_interrupted
from suite.ports import LOOPBACK
from suite.process import PAUSE_SECONDS
from suite.server_process import ServerProcess
from suite.services import RECOMMENDER_SERVICE, SEARCH_SERVICE, Service


def server_of(
    service: Service,
    arguments: Sequence[str],
    *,
    port: int,
    name: str | None = None,
    host: str = LOOPBACK,
    endpoint: ClientSettings | None = None,
) -> ServerProcess:
    """Return one process of a service; nothing runs yet.

    Args:
        service: Which service.
        arguments: Its flags except the address.
        port: Port that it listens on.
        name: Name in messages and logs. None: that of the service.
        host: Address that it listens on.
        endpoint: Client settings to call it. None: without TLS and token.
    """
    return ServerProcess(
        name or service.name,
        service.module,
        port,
        arguments,
        host=host,
        startup_service=service.startup_service,
        endpoint=endpoint,
    )


def target_of(replicas: Sequence[ServerProcess]) -> str:
    """Return the gRPC target of a service's processes, one or several."""
    if len(replicas) == 1:
        return replicas[0].target
    scheme = "ipv6:" if replicas[0].target.startswith("[") else "ipv4:"
    return scheme + ",".join(each.target for each in replicas)


class Suite:
    """The three services together; entering starts them, leaving stops them."""

    def __init__(
        self,
        embedders: Sequence[ServerProcess],
        searches: Sequence[ServerProcess],
        gateways: Sequence[ServerProcess],
        *,
        environment: Mapping[str, str] | None = None,
        logs: Path | None = None,
    ) -> None:
        """Describe a suite; nothing runs yet.

        Args:
            embedders: Processes of the embedder, at least one.
            searches: Processes of the search service, at least one.
            gateways: Processes of the gateway, at least one; their flags hold the other addresses.
            environment: All environment variables of each. None: this process's.
            logs: Folder for one log file each. None: this process's stderr.
        """
        self.embedders = embedders
        self.searches = searches
        self.gateways = gateways
        self._environment = environment
        self._logs = logs

    @property
    def servers(self) -> tuple[ServerProcess, ...]:
        """All processes, dependencies first."""
        return (*self.embedders, *self.searches, *self.gateways)

    @property
    def gateway(self) -> ServerProcess:
        """The first gateway."""
        return self.gateways[0]

    def __enter__(self) -> Self:
        """Start all; embedders are ready inside, search services take writes, gateways are alive.

        Raises:
            ProcessError: One ended or took too long.
            Interrupted: This process was asked to stop.
        """
        try:
            for server in self.servers:
                log = self._logs / f"{server.name}.log" if self._logs else None
                server.start(self._environment, log=log)
            for server in self.servers:
                server.wait_until_started(beside=self.servers)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all."""
        self.stop()

    def has_index(self) -> bool:
        """Return whether an index is active, so that the gateways can answer."""
        return self.searches[0].is_serving(SEARCH_SERVICE)

    def wait_until_ready(self) -> None:
        """Wait until every process is ready, which needs an active index.

        Raises:
            ProcessError: One ended, or it took too long.
            Interrupted: This process was asked to stop.
        """
        for search in self.searches:
            search.wait_until_serving(SEARCH_SERVICE, beside=self.servers)
        for gateway in self.gateways:
            gateway.wait_until_serving(RECOMMENDER_SERVICE, beside=self.servers)

    def watch(self) -> NoReturn:
        """Wait until a process ends by itself or this process is asked to stop.

        Raises:
            ProcessError: One ended.
            Interrupted: This process was asked to stop.
        """
        while True:
            # Poll: a signal just before a blocking wait for a child would be missed.
            time.sleep(PAUSE_SECONDS)
            raise_if_interrupted()
            for server in self.servers:
                server.raise_if_ended()

    def stop(self) -> None:
        """Stop the gateways, then the others; a second interrupt kills all at once."""
        try:
            for servers in (self.gateways, (*self.searches, *self.embedders)):
                for server in servers:
                    server.send_signal(signal.SIGTERM)
                for server in servers:
                    server.wait_or_kill()
        except (Interrupted, KeyboardInterrupt):
            for server in self.servers:
                server.kill()
