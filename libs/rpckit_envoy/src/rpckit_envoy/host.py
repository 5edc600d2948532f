"""Hosts a dispatcher inside Envoy: from ASGI calls to the dispatcher and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import grpc

from rpckit.errors import ServiceError
from rpckit.serving.dispatch import Authorizer, Dispatcher
from rpckit.serving.health import Health
from rpckit.settings.server import ServerSettings
from rpckit_envoy.active_calls import Flights
from rpckit_envoy.admin import Admin
from rpckit_envoy.builtin_services import BuiltinServices
from rpckit_envoy.exchange import Exchange
from rpckit_envoy.protocol import (
    GoneError,
    ProtocolError,
    Receive,
    Send,
    parse_timeout,
)

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.02
"""Pause between two questions to Envoy whether all has been answered."""


class EnvoyHost:
    """The ASGI side of a server, with health and, unless switched off, reflection."""

    def __init__(
        self,
        settings: ServerSettings,
        dispatcher: Dispatcher,
        health_checks: Health,
        authorizer: Authorizer,
        *,
        admin: Admin,
    ) -> None:
        """Build the host; Envoy does not listen before the application has started.

        Args:
            settings: What to admit.
            dispatcher: Answers the calls.
            health_checks: Knows what is ready.
            authorizer: Who may use reflection.
            admin: The Envoy around this process.
        """
        self._settings = settings
        self._max_receive_bytes = settings.max_receive_message_bytes
        self._max_send_bytes = settings.max_send_message_bytes
        self._dispatcher = dispatcher
        self._admin = admin
        self._methods = {f"/{path}": method for path, method in dispatcher.methods.items()}
        services = dict.fromkeys(path.partition("/")[0] for path in dispatcher.methods)
        self._builtin = BuiltinServices(
            health_checks.servicer, authorizer, list(services) if settings.reflection else None
        ).methods
        self._flights = Flights(
            longest_request=settings.default_deadline_s,
            longest_stream=settings.max_connection_age_s,
        )

    async def start(self) -> int:
        """Leave the listening to Envoy.

        Returns:
            The port that the settings name, which may be 0.
        """
        return self._settings.port

    async def stop(self, grace: float) -> None:
        """Accept no more connections; end calls under way after `grace` seconds at the latest."""
        await self._admin.refuse_connections()
        self._flights.end(_STOPPING, streams_only=True)
        if not await self._becomes_idle(grace):
            log.warning("%d calls are broken off", len(self._flights))
            self._flights.end(_STOPPING)
            await self._becomes_idle(1.0)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one call. Never raises: pyvoy would make an empty success of it."""
        path = scope["path"]
        flight = self._flights.enter(receive, is_stream=path in self._builtin)
        exchange = Exchange(scope["headers"], receive, send, flight, self._max_receive_bytes)
        http_status = 200
        try:
            exchange.open()
            await self._answer(path, exchange)
            return
        except ServiceError as error:
            status = error.status()
        except ProtocolError as error:
            status, http_status = error.status(), error.http_status
        except GoneError:
            return
        except asyncio.CancelledError:
            if flight.ending is None:  # the caller has gone
                return
            status = flight.ending.status()
        except Exception:
            log.exception("defect of the host in %s", path)
            status = _DEFECT.status()
        finally:
            self._flights.leave(flight)
        with contextlib.suppress(GoneError):
            await exchange.finish(status, http_status)

    async def _answer(self, path: str, exchange: Exchange) -> None:
        method = self._methods.get(path)
        if method is not None:
            timeout = parse_timeout(exchange.metadata.get("grpc-timeout"))
            body = await exchange.body()
            response = await self._dispatcher.dispatch(method, body, exchange.metadata, timeout)
            if len(response) > self._max_send_bytes:
                raise ProtocolError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the response is larger than the limit ({len(response)} against "
                    f"{self._max_send_bytes} bytes)",
                )
            await exchange.answer(response)
        elif path in self._builtin:
            await self._builtin[path](exchange)
        else:
            raise ProtocolError(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path}")

    async def _becomes_idle(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        while not await self._admin.is_idle():
            if loop.time() >= give_up:
                return False
            await asyncio.sleep(IDLE_POLL_SECONDS)
        return True


_STOPPING = ProtocolError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
_DEFECT = ProtocolError(grpc.StatusCode.INTERNAL, "a defect of the server; its log says more")
