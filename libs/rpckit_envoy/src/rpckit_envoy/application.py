"""What pyvoy runs inside Envoy: a service, wired when Envoy starts and freed before it ends."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from rpckit.errors import StartupError
from rpckit.observing.logs import configure_logging
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.process import freeze_gc
from rpckit.serving.server import serving
from rpckit.settings.server import ServerSettings
from rpckit_envoy import control_socket as control
from rpckit_envoy.admin import Admin
from rpckit_envoy.certificates import follow_changes
from rpckit_envoy.envoy_config import ADMIN_SOCKET
from rpckit_envoy.host import EnvoyHost
from rpckit_envoy.protocol import Receive, Send

log = logging.getLogger(__name__)

LISTEN_POLL_SECONDS = 0.02
"""Pause between two questions to Envoy whether it listens."""

HOSTING_VARIABLES = ("LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")
"""What makes Envoy find this Python, and would mislead the programs that a service starts."""


class Application:
    """The ASGI application; there is one in a process."""

    def __init__(self) -> None:
        """Build nothing: Envoy has not started."""
        self._host: EnvoyHost | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Live, or answer a call."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            assert self._host is not None  # noqa: S101 - calls come after the start
            await self._host(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        for variable in HOSTING_VARIABLES:
            os.environ.pop(variable, None)
        await receive()
        supervisor = await control.Application.open()
        try:
            errand = await supervisor.receive()
            settings = errand.settings()
            admin = Admin(errand.run_dir / ADMIN_SOCKET)
            configure_logging(settings.log_level, settings.log_format, errand.name)
            async with self._running(errand, settings, admin):
                freeze_gc()
                await send({"type": "lifespan.startup.complete"})
                envoy_ends = asyncio.ensure_future(receive())
                stop = asyncio.create_task(_listen_until_stop(settings, supervisor, admin))
                await asyncio.wait({envoy_ends, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not stop.done():
                    log.error("Envoy ends, and nobody asked it to")
                    os._exit(1)
                await stop
        except StartupError as error:
            await supervisor.send_error(str(error))
            os._exit(1)  # at once: Envoy would add what it thinks of it
        except Exception:
            log.exception("the service cannot run")
            os._exit(1)
        # All is answered and freed. Envoy's own way out would run the exit handlers of every
        # library in the process, and those of some (Paddle) abort there.
        logging.shutdown()
        os._exit(0)

    @asynccontextmanager
    async def _running(
        self, errand: control.Errand, settings: ServerSettings, admin: Admin
    ) -> AsyncIterator[None]:
        def make_host(*args: Any) -> EnvoyHost:
            self._host = EnvoyHost(*args, admin=admin)
            return self._host

        async with AsyncExitStack() as stack:
            telemetry = stack.enter_context(Telemetry.open(errand.name, settings))
            wire = control.load(errand.wire)
            await stack.enter_async_context(serving(settings, wire, telemetry, make_host))
            if (files := settings.tls_files()) is not None:
                following = asyncio.create_task(follow_changes(files, errand.run_dir))
                stack.callback(following.cancel)
            yield


async def _listen_until_stop(
    settings: ServerSettings, supervisor: control.Application, admin: Admin
) -> None:
    port = None
    while port is None:
        try:
            port = await admin.port()
        except (OSError, LookupError):  # not yet
            await asyncio.sleep(LISTEN_POLL_SECONDS)
    log.info("listening on %s:%d", settings.host, port)
    await supervisor.send_port(port)
    await supervisor.wait_for_stop()


app = Application()
