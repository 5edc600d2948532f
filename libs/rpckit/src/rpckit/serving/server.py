"""A listening server: wired, started, and stopped in two phases."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

from rpckit.observing.logs import AccessLog
from rpckit.observing.telemetry import Telemetry
from rpckit.security.tokens import TokenFile
from rpckit.serving.dispatch import AllowAll, Authorizer, Dispatcher, Mount
from rpckit.serving.grpcio_host import GrpcioHost
from rpckit.serving.health import Health
from rpckit.settings.server import ServerSettings

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=ServerSettings)
Wire = Callable[[SettingsT, Telemetry], AbstractAsyncContextManager[Sequence[Mount]]]
"""Builds what a service needs and yields what it serves; leaving it frees everything."""


class Host(Protocol):
    """What listens, and turns what arrives into calls of a dispatcher."""

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            StartupError: The port is taken, or a file of the settings is no good.
        """
        ...

    async def stop(self, grace: float) -> None:
        """Accept no more calls; end those under way after `grace` seconds at the latest."""
        ...


MakeHost = Callable[[ServerSettings, Dispatcher, Health, Authorizer], Host]


class Server:
    """A listening server: its port, and how it is stopped."""

    def __init__(
        self,
        settings: ServerSettings,
        mounts: Sequence[Mount],
        telemetry: Telemetry,
        make_host: MakeHost = GrpcioHost,
    ) -> None:
        """Build everything; nothing listens yet.

        Args:
            settings: How to listen and what to admit.
            mounts: The services.
            telemetry: Where they are measured.
            make_host: Builds what listens.
        """
        authorizer: Authorizer = (
            TokenFile(settings.token_file) if settings.token_file else AllowAll()
        )
        self._settings = settings
        self._dispatcher = Dispatcher(
            mounts,
            telemetry=telemetry,
            access_log=AccessLog(settings.access_log),
            authorizer=authorizer,
            max_concurrent=settings.max_concurrent_rpcs,
            default_deadline=settings.default_deadline_s,
            margin=settings.deadline_margin_ms / 1000,
        )
        self._health = Health(mounts, telemetry)
        self._host = make_host(settings, self._dispatcher, self._health, authorizer)
        self.port = 0

    async def start(self) -> None:
        """Listen and begin to check readiness.

        Raises:
            StartupError: The port is taken, or a file of the settings is no good.
        """
        self.port = await self._host.start()
        await self._health.start()

    async def stop(self) -> None:
        """Stop in two phases: stop being ready, so that balancers look elsewhere; then drain."""
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
    """Wire and start a service; stop it in two phases on leaving, then free what it used."""
    async with wire(settings, telemetry) as mounts:
        server = Server(settings, mounts, telemetry, make_host)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
