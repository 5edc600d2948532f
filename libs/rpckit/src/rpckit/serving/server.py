"""A listening server: built, started, and stopped in two phases; and the interface of hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from rpckit.observing.logs import AccessLog
from rpckit.observing.telemetry import Telemetry
from rpckit.security.tls import TlsMaterial
from rpckit.security.tokens import TokenFile
from rpckit.security.watched_files import FileWatcher
from rpckit.serving.dispatch import AllowAll, Authorizer, Dispatcher, Mount
from rpckit.serving.grpcio_host import GrpcioHost
from rpckit.serving.health import Health
from rpckit.settings.server import ServerSettings

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=ServerSettings)
Wire = Callable[[SettingsT, Telemetry], AbstractAsyncContextManager[Sequence[Mount]]]
"""Builds a service and yields its mounts; leaving the context frees its resources."""


class Host(Protocol):
    """Listens, and turns gRPC calls into `Dispatcher.dispatch`: the seam for other gRPC servers.

    `GrpcioHost` is the host of this package, `rpckit_envoy` has another. To write a third,
    implement this protocol and a `rpckit.serving.process.RunHost`, register the latter as an entry
    point, and add its name to the fixture `host` of tests/inprocess/hosts. That suite runs on every
    host and holds it to the following.

    - Statuses: a `ServiceError` reaches the caller with its code, message and google.rpc details.
      An unknown method is UNIMPLEMENTED, and so is any other spelling of a method's path.
    - Deadlines: the host passes the time from `grpc-timeout` to `dispatch`, which enforces it.
    - Cancellation: when the caller cancels or disconnects, the host cancels `dispatch`.
    - Messages: requests may be compressed with gzip or deflate. A request over the limit of the
      settings is RESOURCE_EXHAUSTED, measured after decompression, with "larger than" in its
      message, as in gRPC's own. `dispatch` measures the responses.
    - Concurrency: the host accepts more than `max_concurrent_rpcs` calls, so that `dispatch` can
      refuse the ones over the limit; HTTP/2 limits a connection to twice that number.
    - Health: `Health.servicer` answers grpc.health.v1, Watch included, without a token.
    - Reflection: v1 and v1alpha, if the settings say so, for callers with the permission `read`.
    - TLS: TLS and mTLS with `ServerSettings.tls_files`. When the files change and are valid
      together, new connections use them, without a restart; open connections stay. A process that
      can no longer follow them stops.
    - Tokens: the host passes all metadata to `dispatch`, with keys in lower case.
    - Connections: they end after `max_connection_age_s`, and no call fails of it. Clients may send
      keepalive pings as often as `keepalive_min_interval_s`.
    - Stop: SIGTERM and SIGINT stop the process in two phases (`Server.stop`) with exit code 0, and
      a stop under load fails no call. A failed start is one line on stderr and exit code 1.
    """

    async def start(self) -> int:
        """Listen, and return the port; the system chooses one if the settings say 0.

        A socket has no port: 0.

        Two servers never share a port.

        Raises:
            StartupError: The port is taken, or the address is invalid.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Refuse new calls; end the calls in progress after `grace` seconds at the latest.

        Calls of Watch end at once. Returns when all answers are sent.
        """
        ...


MakeHost = Callable[
    [ServerSettings, Dispatcher, Health, Authorizer, FileWatcher[TlsMaterial] | None], Host
]
"""Creates a host, which does not listen yet.

The authorizer guards reflection; the last argument are the TLS files, None without TLS.
"""


class Server:
    """A dispatcher, its health checks and its host."""

    def __init__(
        self,
        settings: ServerSettings,
        mounts: Sequence[Mount],
        telemetry: Telemetry,
        make_host: MakeHost = GrpcioHost,
    ) -> None:
        """Create the server; it does not listen yet.

        Args:
            settings: Settings of the server.
            mounts: The services.
            telemetry: Records the calls.
            make_host: Creates the host.

        Raises:
            StartupError: The token file or a TLS file is invalid.
        """
        checks: list[Callable[[], None]] = []
        authorizer: Authorizer = AllowAll()
        if settings.token_file is not None:
            authorizer = tokens = TokenFile(settings.token_file)
            telemetry.watched_files(tokens.file)
            checks.append(tokens.check)
        certificates = None
        if (files := settings.tls_files()) is not None:
            certificates = files.watch(interval=0)
            telemetry.watched_files(certificates)
            checks.append(certificates.check)
        self._settings = settings
        self._dispatcher = Dispatcher(
            mounts,
            telemetry=telemetry,
            access_log=AccessLog(settings.access_log),
            authorizer=authorizer,
            max_concurrent=settings.max_concurrent_rpcs,
            default_deadline=settings.default_deadline_s,
            margin=settings.deadline_margin_ms / 1000,
            max_send_bytes=settings.max_send_message_bytes,
        )
        self._health = Health(mounts, telemetry, checks)
        self._host = make_host(settings, self._dispatcher, self._health, authorizer, certificates)
        self.port = 0

    async def start(self) -> None:
        """Listen, and start the readiness checks.

        Raises:
            StartupError: The port is taken, or the address is invalid.
        """
        self.port = await self._host.start()
        await self._health.start()

    async def stop(self) -> None:
        """Stop in two phases: report not ready, so that clients go elsewhere; then drain."""
        await self._health.stop()
        log.info("not ready any more; draining in %.1f s", self._settings.shutdown_delay_s)
        await asyncio.sleep(self._settings.shutdown_delay_s)
        await self._host.stop(self._settings.shutdown_grace_s)
        log.info("stopped")


@asynccontextmanager
async def serving(
    settings: SettingsT,
    wire: Wire[SettingsT],
    telemetry: Telemetry,
    make_host: MakeHost = GrpcioHost,
) -> AsyncIterator[Server]:
    """Build and start a service; on leaving, stop it in two phases and free its resources."""
    async with wire(settings, telemetry) as mounts:
        server = Server(settings, mounts, telemetry, make_host)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
