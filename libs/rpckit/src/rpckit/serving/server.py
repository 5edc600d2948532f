"""Runs a service as a process: from settings to a clean exit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

import uvloop

from rpckit.errors import StartupError
from rpckit.observing.logs import AccessLog, configure_logging
from rpckit.observing.telemetry import Telemetry
from rpckit.security.tokens import TokenFile
from rpckit.serving.dispatch import Anonymous, Authorizer, Dispatcher, Mount
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
            TokenFile(settings.token_file) if settings.token_file else Anonymous()
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
        if settings.server == "envoy":
            return _run_in_envoy(name, settings, wire)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_until_signal(name, settings, wire))
    except StartupError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except KeyboardInterrupt:  # before anything was served
        return 130
    return 0


def spare_collector() -> None:
    """Keep garbage collections from going through what a started process holds until its end.

    An embedder holds all of Paddle, 110,000 objects that a full collection takes 60 ms for, again
    and again under load: without them it answers 15 % more EmbedUsers a second.
    """
    gc.collect()
    gc.freeze()


def _run_in_envoy(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> int:
    try:
        # Only here: most installations do not have it.
        from rpckit.envoy.supervisor import supervise
    except ModuleNotFoundError as error:
        raise StartupError(f"server envoy needs rpckit[envoy]: {error}") from error
    return supervise(name, settings, wire)


async def _serve_until_signal(name: str, settings: SettingsT, wire: Wire[SettingsT]) -> None:
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        telemetry = stack.enter_context(Telemetry.open(name, settings))
        async with serving(settings, wire, telemetry) as server:
            spare_collector()
            log.info("listening on %s:%d", settings.host, server.port)
            loop = asyncio.get_running_loop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, stop.set)
            await stop.wait()
