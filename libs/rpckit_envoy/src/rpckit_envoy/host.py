"""The host inside Envoy: turns ASGI calls into calls of the dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import grpc

from rpckit.errors import ServiceError
from rpckit.security.tls import TlsMaterial
from rpckit.security.watched_files import FileWatcher
from rpckit.serving.dispatch import Authorizer, Dispatcher
from rpckit.serving.health import Health
from rpckit.settings.server import ServerSettings
from rpckit_envoy.active_calls import ActiveCalls
from rpckit_envoy.admin import Admin
from rpckit_envoy.exchange import Exchange
from rpckit_envoy.health_and_reflection import HealthAndReflection
from rpckit_envoy.protocol import (
    ClientDisconnectedError,
    ProtocolError,
    Receive,
    Send,
    parse_timeout,
)

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.02
"""Pause between checks whether Envoy is idle."""
FLUSH_SECONDS = 1.0
"""Longest that the last answers may take to be read once the server stops."""


class EnvoyHost:
    """An ASGI application for one dispatcher, with health and, unless switched off, reflection."""

    def __init__(
        self,
        settings: ServerSettings,
        dispatcher: Dispatcher,
        health_checks: Health,
        authorizer: Authorizer,
        certificates: FileWatcher[TlsMaterial] | None,
        *,
        admin: Admin,
    ) -> None:
        """Create the host; Envoy listens once the application has started.

        Args:
            settings: Settings of the server.
            dispatcher: Answers the calls.
            health_checks: Has the health servicer.
            authorizer: Checks the callers of reflection.
            certificates: TLS files of the server, which the application lets Envoy follow.
            admin: The Envoy that this process runs in.
        """
        self.certificates = certificates
        """TLS files of the server; None without TLS."""
        self._settings = settings
        self._max_receive_bytes = settings.max_receive_message_bytes
        self._max_send_bytes = settings.max_send_message_bytes
        self._dispatcher = dispatcher
        self._admin = admin
        self._methods = {f"/{path}": method for path, method in dispatcher.methods.items()}
        services = dict.fromkeys(path.partition("/")[0] for path in dispatcher.methods)
        self._other_methods = HealthAndReflection(
            health_checks.servicer, authorizer, list(services) if settings.reflection else None
        ).methods
        self._active_calls = ActiveCalls(
            request_timeout=settings.default_deadline_s,
            stream_timeout=settings.max_connection_age_s,
        )

    async def start(self) -> int:
        """Return the port of the settings, which may be 0: Envoy does the listening."""
        return self._settings.port

    async def stop(self, grace: float) -> None:
        """Refuse new connections; see `Host.stop`."""
        await self._admin.refuse_connections()
        self._active_calls.abort_all(_STOPPING, streams_only=True)
        if not await self._wait_until_idle(grace):
            log.warning("%d calls are broken off", len(self._active_calls))
            self._active_calls.abort_all(_STOPPING)
            await self._wait_until_idle(1.0)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one call. Never raises, because pyvoy would answer with an empty success."""
        path = _path(scope)
        active_call = self._active_calls.add(receive, is_stream=path in self._other_methods)
        exchange = Exchange(scope["headers"], receive, send, active_call, self._max_receive_bytes)
        http_status = 200
        try:
            exchange.open()
            await self._answer(path, exchange)
            return
        except ServiceError as error:
            status = error.status()
        except ProtocolError as error:
            status, http_status = error.status(), error.http_status
        except ClientDisconnectedError:
            return
        except asyncio.CancelledError:
            if active_call.abort_reason is None:  # the caller disconnected
                return
            status = active_call.abort_reason.status()
        except Exception:
            log.exception("defect of the host in %s", path)
            status = _DEFECT.status()
        finally:
            self._active_calls.remove(active_call)
        with contextlib.suppress(ClientDisconnectedError):
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
        elif path in self._other_methods:
            await self._other_methods[path](exchange)
        else:
            raise ProtocolError(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {path}")

    async def _wait_until_idle(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        end, flushed = loop.time() + seconds, loop.time() + FLUSH_SECONDS
        while not await self._admin.is_idle():
            now = loop.time()
            if self._active_calls:
                flushed = now + FLUSH_SECONDS
            if now >= min(end, flushed):
                # Answered, but not read: a client that does not read must not delay the stop.
                return not self._active_calls
            await asyncio.sleep(IDLE_POLL_SECONDS)
        return True


def _path(scope: dict[str, Any]) -> str:
    """Return the path as the caller sent it, which is the one that proxies have checked.

    ASGI's own `path` is decoded and without the query, so that one method would have many paths.
    """
    path: str = scope["raw_path"].decode("latin-1")
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path


_STOPPING = ProtocolError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
_DEFECT = ProtocolError(grpc.StatusCode.INTERNAL, "a defect of the server; its log says more")
