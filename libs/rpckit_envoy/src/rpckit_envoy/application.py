"""The ASGI application that pyvoy runs inside Envoy: builds a service and serves it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rpckit.addresses import join_host_port
from rpckit.errors import StartupError
from rpckit.observing.logs import configure_logging
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.process import freeze_gc
from rpckit.serving.server import serving
from rpckit.settings.server import ServerSettings
from rpckit_envoy.admin import Admin
from rpckit_envoy.certificates import reload_on_change
from rpckit_envoy.control_socket import ApplicationSocket
from rpckit_envoy.envoy_config import ADMIN_SOCKET
from rpckit_envoy.host import EnvoyHost
from rpckit_envoy.launch_spec import LaunchSpec
from rpckit_envoy.protocol import Receive, Send

log = logging.getLogger(__name__)

LISTEN_POLL_SECONDS = 0.02
"""Pause between checks whether Envoy listens."""

LOADER_VARIABLES = ("LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")
"""Variables that make Envoy find this Python; child processes of the service must not see them."""


class Application:
    """The ASGI application; each process has one."""

    def __init__(self) -> None:
        """Create the application; the service is built when Envoy starts."""
        self._host: EnvoyHost | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handle the lifespan of the process, or answer a call."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            assert self._host is not None  # noqa: S101 - calls come after the start
            await self._host(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        for variable in LOADER_VARIABLES:
            os.environ.pop(variable, None)
        await receive()
        supervisor = await ApplicationSocket.open()
        try:
            spec = await supervisor.receive()
            settings = spec.settings()
            admin = Admin(spec.run_dir / ADMIN_SOCKET)
            configure_logging(settings.log_level, settings.log_format, spec.name)
            async with self._serving(spec, settings, admin):
                freeze_gc()
                await send({"type": "lifespan.startup.complete"})
                envoy_ends = asyncio.ensure_future(receive())
                stop = asyncio.create_task(self._run_until_stop(spec, settings, supervisor, admin))
                await asyncio.wait({envoy_ends, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.done():
                    log.error("Envoy ended unexpectedly")
                    os._exit(1)
                await stop
        except StartupError as error:
            await supervisor.send_error(str(error))
            os._exit(1)  # at once, before Envoy adds messages of its own
        except Exception:
            log.exception("the service cannot run")
            os._exit(1)
        # All calls are answered and all resources freed. Envoy's own exit would run the exit
        # handlers of all libraries in the process, and some of them (Paddle's) abort.
        logging.shutdown()
        os._exit(0)

    @asynccontextmanager
    async def _serving(
        self, spec: LaunchSpec, settings: ServerSettings, admin: Admin
    ) -> AsyncIterator[None]:
        def make_host(*args: Any) -> EnvoyHost:
            self._host = EnvoyHost(*args, admin=admin)
            return self._host

        async with AsyncExitStack() as stack:
            telemetry = stack.enter_context(Telemetry.open(spec.name, settings))
            await stack.enter_async_context(serving(settings, spec.wire(), telemetry, make_host))
            yield

    async def _run_until_stop(
        self,
        spec: LaunchSpec,
        settings: ServerSettings,
        supervisor: ApplicationSocket,
        admin: Admin,
    ) -> None:
        assert self._host is not None  # noqa: S101 - it is built
        certificates = self._host.certificates
        # A task that fails ends the group, and so the process: it must not go on with certificates
        # that nothing replaces.
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_report_port_and_wait(settings, supervisor, admin))
            if certificates is not None:
                following = group.create_task(reload_on_change(certificates, spec.run_dir))
                waiting.add_done_callback(lambda _: following.cancel())


async def _report_port_and_wait(
    settings: ServerSettings, supervisor: ApplicationSocket, admin: Admin
) -> None:
    port = None
    while port is None:
        try:
            port = await admin.port()
        except (OSError, LookupError):  # it does not listen yet
            await asyncio.sleep(LISTEN_POLL_SECONDS)
    log.info("listening on %s", join_host_port(settings.host, port))
    await supervisor.send_port(port)
    await supervisor.wait_for_stop()


app = Application()
