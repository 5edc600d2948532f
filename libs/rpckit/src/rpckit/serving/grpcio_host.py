"""The default host: a dispatcher on grpc.aio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from grpc import aio

from rpckit.addresses import join_host_port, resolve_free_address, socket_path
from rpckit.security.tls import TlsMaterial, server_credentials
from rpckit.security.watched_files import FileWatcher
from rpckit.serving.admission import streams_per_connection
from rpckit.serving.dispatch import Authorizer, Dispatcher
from rpckit.serving.grpcio_handlers import GrpcioHandlers
from rpckit.serving.health import Health
from rpckit.settings.server import ServerSettings

IDLE_POLL_SECONDS = 0.02
"""Pause between checks whether calls are in flight, while the server stops."""
MAX_PENDING_CALLS = 1024
"""Most calls, of all connections, that wait in C-core for grpc.aio; it refuses more."""
FLUSH_SECONDS = 1.0
"""Longest that the last answers may take to be read once the server stops."""


class GrpcioHost:
    """A grpc.aio server for one dispatcher, with health and, unless switched off, reflection."""

    def __init__(
        self,
        settings: ServerSettings,
        dispatcher: Dispatcher,
        health_checks: Health,
        authorizer: Authorizer,
        certificates: FileWatcher[TlsMaterial] | None,
    ) -> None:
        """Create the server; it does not listen yet."""
        self._settings = settings
        self._dispatcher = dispatcher
        self._health = health_checks
        self._certificates = certificates
        self._server = aio.server(options=server_options(settings))
        handlers = GrpcioHandlers(settings)
        services = handlers.services(dispatcher)
        all_services = {**services, **handlers.health(health_checks.servicer)}
        if settings.reflection:
            all_services |= handlers.reflection(authorizer, services)
        for service, methods in all_services.items():
            generic = grpc.method_handlers_generic_handler(service, methods)
            self._server.add_generic_rpc_handlers((generic,))

    async def start(self) -> int:
        """Listen and return the port; see `Host.start`."""
        settings = self._settings
        resolve_free_address(settings.host, settings.port)
        address = join_host_port(settings.host, settings.port)
        with _umask_of(settings):
            if self._certificates is None:
                port = self._server.add_insecure_port(address)
            else:
                credentials = server_credentials(self._certificates)
                port = self._server.add_secure_port(address, credentials)
        await self._server.start()
        return 0 if socket_path(settings.host) else port

    async def stop(self, grace: float) -> None:
        """Refuse new calls; see `Host.stop`."""
        self._health.end_watches()  # a Watch never ends and would use up the grace
        stopping = asyncio.create_task(self._server.stop(grace))
        while self._dispatcher.in_flight and not stopping.done():  # noqa: ASYNC110 - an event would cost every call
            await asyncio.sleep(IDLE_POLL_SECONDS)
        # What is left are answers on their way, or to clients that do not read.
        await self._server.stop(min(grace, FLUSH_SECONDS))
        await stopping


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Return the arguments of a server; `rpckit.calling.channel_options` has a client's."""
    return [
        ("grpc.so_reuseport", 0),  # two processes on one port is a mistake, not a way to scale
        ("grpc.max_receive_message_length", settings.max_receive_message_bytes),
        ("grpc.max_send_message_length", settings.max_send_message_bytes),
        ("grpc.max_concurrent_streams", streams_per_connection(settings.max_concurrent_rpcs)),
        # C-core holds up to a window of each call that nobody reads yet: 64 KiB, if it does not
        # probe the bandwidth. For a call that is read, it widens the window to the message.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        # C-core adds jitter of ±10 %, so that connections do not all end at once
        ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_s * 1000)),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            int(settings.keepalive_min_interval_s * 1000),
        ),
        ("grpc.http2.max_ping_strikes", 2),
    ]


@contextmanager
def _umask_of(settings: ServerSettings) -> Iterator[None]:
    """Let the socket have the permissions of the settings from its first instant."""
    if not socket_path(settings.host):
        yield
        return
    before = os.umask(0o777 & ~int(settings.socket_mode, 8))
    try:
        yield
    finally:
        os.umask(before)
