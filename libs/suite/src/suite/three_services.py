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
        service: Which of the three.
        arguments: Its flags but for the address.
        port: Port that it listens on.
        name: What people call it. None: as the service; replicas have names of their own.
        host: Address that it listens on.
        endpoint: How it is called. None: in the clear, without a token.
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
    return "ipv4:" + ",".join(each.target for each in replicas)


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
            gateways: Processes of the gateway, at least one; their flags say where the others are.
            environment: All environment variables of each. None: this process's.
            logs: Folder for one log file each. None: they write to this process's stderr.
        """
        self.embedders = embedders
        self.searches = searches
        self.gateways = gateways
        self._environment = environment
        self._logs = logs

    @property
    def servers(self) -> tuple[ServerProcess, ...]:
        """All processes, those that others need first."""
        return (*self.embedders, *self.searches, *self.gateways)

    @property
    def gateway(self) -> ServerProcess:
        """The gateway; the first of several."""
        return self.gateways[0]

    def __enter__(self) -> Self:
        """Start all; embedders are ready inside, search services take writes, gateways are alive.

        Raises:
            ProcessError: One ended or took too long.
            Interrupted: This process is to stop.
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
        """Tell whether an index is active, so that the gateways can answer."""
        return self.searches[0].is_serving(SEARCH_SERVICE)

    def wait_until_ready(self) -> None:
        """Wait until every process answers, which takes an active index.

        Raises:
            ProcessError: One ended, or it took too long.
            Interrupted: This process is to stop.
        """
        for search in self.searches:
            search.wait_until_serving(SEARCH_SERVICE, beside=self.servers)
        for gateway in self.gateways:
            gateway.wait_until_serving(RECOMMENDER_SERVICE, beside=self.servers)

    def watch(self) -> NoReturn:
        """Wait until a process ends by itself, or this one is to stop.

        Raises:
            ProcessError: One ended.
            Interrupted: This process is to stop.
        """
        while True:
            # Not a call that waits for a child: a signal that comes just before it would be missed.
            time.sleep(PAUSE_SECONDS)
            raise_if_interrupted()
            for server in self.servers:
                server.raise_if_ended()

    def stop(self) -> None:
        """End the gateways, then what they call; whoever asks again ends all at once."""
        try:
            for servers in (self.gateways, (*self.searches, *self.embedders)):
                for server in servers:
                    server.send_signal(signal.SIGTERM)
                for server in servers:
                    server.wait_or_kill()
        except (Interrupted, KeyboardInterrupt):
            for server in self.servers:
                server.kill()
