"""Client side of a service: one long-lived channel for each upstream service.

The channel balances calls over the ready replicas and retries idempotent methods; see
`rpckit.calling.service_config`. Calls fail fast (gRPC's wait-for-ready is off): if the service
cannot be reached, they fail after the retries, and the caller decides what to do. A call that finds
the channel still connecting waits, within its timeout.

No replica holds a call for as long as its caller is patient. One that does not answer within
`timeout_s` loses the call to the next replica, and one that does not answer pings loses its
connection and with it all its calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from rpckit.calling.channel_options import channel_options
from rpckit.calling.service_config import is_idempotent, service_config
from rpckit.calling.upstream_errors import to_service_error
from rpckit.errors import DeadlineError, NotReadyError, StartupError, UpstreamError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.security.tls import TlsMaterial
from rpckit.security.watched_files import FileWatcher
from rpckit.settings.client import ClientSettings

log = logging.getLogger(__name__)

Request_contra = TypeVar("Request_contra", bound=Message, contravariant=True)
Response_co = TypeVar("Response_co", bound=Message, covariant=True)

Metadata = tuple[tuple[str, str], ...]

UNANSWERED_ATTEMPTS = 2
"""Attempts of an idempotent method, each of `timeout_s`. Every one may double the work of a service
that is slow, so there is no third."""


class UnaryCall(Protocol, Generic[Request_contra, Response_co]):
    """A unary method of an upstream service."""

    async def __call__(
        self,
        request: Request_contra,
        *,
        timeout: float,
        trace: TraceContext,
        links: Sequence[TraceContext] = (),
    ) -> Response_co:
        """Call the method; cancelling the caller cancels the call on the server too.

        Args:
            request: The request.
            timeout: Longest time for the answer in seconds, further attempts included.
            trace: Trace that the call belongs to; parent of its span.
            links: Traces of the other calls, if this call serves a batch; links of its span.

        Raises:
            DeadlineError: The time ran out.
            UpstreamError: The service cannot be reached, broke the call off, left all attempts
                without an answer, or rejected this process's credentials.
            InvalidRequestError: The service rejected fields of the request.
            RemoteError: The service answered with any other status.
        """
        ...


class Channel:
    """A long-lived channel that reconnects when its certificate files change."""

    def __init__(
        self,
        settings: ClientSettings,
        services: Sequence[ServiceDescriptor] = (),
        telemetry: Telemetry | None = None,
    ) -> None:
        """See `connect`."""
        self.target = settings.target
        self.attempt_timeout = settings.timeout_s
        self._settings = settings
        self._telemetry = telemetry or Telemetry("client")
        self._config = service_config(services)
        files = settings.tls_files()
        self._tls = None if files is None else files.watch(interval=1.0)
        self._token = None if settings.token_file is None else _watch_token(settings.token_file)
        self._files: list[FileWatcher[Any]] = [
            watcher for watcher in (self._tls, self._token) if watcher is not None
        ]
        for watcher in self._files:
            self._telemetry.watched_files(watcher)
        self._closing: set[asyncio.Task[None]] = set()
        self._material = None if self._tls is None else self._tls.get()
        self._channel = self._open()
        self._stub_channel: aio.Channel | None = None

    @property
    def grpc(self) -> aio.Channel:
        """The current gRPC channel for generated stubs; it adds the token to their calls."""
        channel = self.current()
        if self._token is None:
            return channel
        if self._stub_channel is None:
            self._stub_channel = self._open([_TokenInterceptor(self._token)])
        return self._stub_channel

    def unary(
        self, method: MethodDescriptor, parse: Callable[[bytes], Any] | None = None
    ) -> UnaryCall[Any, Any]:
        """Return a callable for a unary method.

        Args:
            method: Descriptor, from the generated module's DESCRIPTOR.
            parse: Turns the serialized response into the call's result. None parses the message.
        """
        return _Unary(self, method, self._telemetry, parse)

    def check_ready(self) -> None:
        """Check without a call that a replica of the service is ready.

        Raises:
            NotReadyError: No replica is ready, or none is known to be yet, or the channel's
                certificates or token could not be reloaded for too long.
        """
        for watcher in self._files:
            watcher.check()
        state = self.current().get_state(try_to_connect=True)
        if state is not grpc.ChannelConnectivity.READY:
            raise NotReadyError(f"no replica at {self.target} is ready ({state.name.lower()})")

    async def close(self, grace: float | None = None) -> None:
        """Close the channel; calls in progress get `grace` seconds to finish."""
        await asyncio.gather(_close(self._channels(), grace), *self._closing)

    def current(self) -> aio.Channel:
        """Return the gRPC channel for a new call."""
        if self._tls is not None and (material := self._tls.get()) is not self._material:
            log.info("reconnecting to %s with the changed certificates", self.target)
            # Calls in progress finish on the old connection.
            closing = asyncio.create_task(_close(self._channels(), self._settings.timeout_s))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._material = material
            self._channel = self._open()
            self._stub_channel = None
        return self._channel

    def token_metadata(self) -> Metadata:
        """Return the metadata that carries the bearer token, if there is one."""
        return () if self._token is None else self._token.get()

    def _open(self, interceptors: Sequence[aio.ClientInterceptor] = ()) -> aio.Channel:
        options = channel_options(self._settings, self._config)
        if self._material is None:
            return aio.insecure_channel(self.target, options, interceptors=interceptors)
        credentials = _credentials(self._material)
        return aio.secure_channel(self.target, credentials, options, interceptors=interceptors)

    def _channels(self) -> list[aio.Channel]:
        both = (self._channel, self._stub_channel)
        return [channel for channel in both if channel is not None]


@asynccontextmanager
async def connect(
    settings: ClientSettings, *services: ServiceDescriptor, telemetry: Telemetry | None = None
) -> AsyncIterator[Channel]:
    """Open a channel on the running loop; it connects on first use.

    Args:
        settings: Target, TLS files, token file and limits.
        services: Services to call. Their idempotent methods are retried, and calls go only to
            replicas on which the first service is ready.
        telemetry: Records the calls of `Channel.unary`.

    Raises:
        StartupError: A certificate or token file is missing or invalid.
    """
    channel = Channel(settings, services, telemetry)
    try:
        yield channel
    finally:
        await channel.close()


class _Unary:
    """See `UnaryCall`."""

    def __init__(
        self,
        channel: Channel,
        method: MethodDescriptor,
        telemetry: Telemetry,
        parse: Callable[[bytes], Any] | None,
    ) -> None:
        path = f"{method.containing_service.full_name}/{method.name}"
        self._channel = channel
        self._path = path
        self._attempts = UNANSWERED_ATTEMPTS if is_idempotent(method) else 1
        self._serialize = GetMessageClass(method.input_type).SerializeToString
        self._parse = parse or GetMessageClass(method.output_type).FromString
        self._recorder = telemetry.client(path)
        self._call_channel: aio.Channel | None = None

    async def __call__(
        self,
        request: Message,
        *,
        timeout: float,
        trace: TraceContext,
        links: Sequence[TraceContext] = (),
    ) -> Any:
        bound = self._channel.attempt_timeout
        end = time.monotonic() + timeout
        for _ in range(self._attempts):
            left = end - time.monotonic()
            try:
                return await self._attempt(request, min(left, bound), trace, links)
            except DeadlineError:
                if left <= bound:
                    raise
        raise UpstreamError(
            f"{self._path} did not answer within {bound:g} s",
            metadata={"target": self._channel.target, "method": self._path},
        )

    async def _attempt(
        self, request: Message, timeout: float, trace: TraceContext, links: Sequence[TraceContext]
    ) -> Any:
        channel = self._channel.current()
        if channel is not self._call_channel:
            self._call_channel = channel
            self._call = channel.unary_unary(f"/{self._path}", self._serialize, self._parse)
        with self._recorder.call(trace, links) as client_trace:
            try:
                return await self._call(
                    request,
                    timeout=timeout,
                    metadata=client_trace.metadata() + self._channel.token_metadata(),
                )
            except aio.AioRpcError as error:
                raise to_service_error(error, self._channel.target, self._path) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # The caller was not cancelled, so the channel was closed during the call.
                raise UpstreamError(f"the channel to {self._channel.target} was closed") from None


class _TokenInterceptor(aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: FileWatcher[Metadata]) -> None:
        self._token = token

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        details = aio.ClientCallDetails(
            method=client_call_details.method,
            timeout=client_call_details.timeout,
            metadata=aio.Metadata(*(client_call_details.metadata or ()), *self._token.get()),
            credentials=client_call_details.credentials,
            wait_for_ready=client_call_details.wait_for_ready,
        )
        return await continuation(details, request)


async def _close(channels: Sequence[aio.Channel], grace: float | None) -> None:
    await asyncio.gather(*(channel.close(grace) for channel in channels))


def _credentials(material: TlsMaterial) -> grpc.ChannelCredentials:
    identity = material.identity
    if identity is None:
        return grpc.ssl_channel_credentials(material.ca)
    return grpc.ssl_channel_credentials(material.ca, identity.key, identity.cert)


def _watch_token(path: Path) -> FileWatcher[Metadata]:
    def load() -> Metadata:
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"cannot read the token in {path}: {error}") from None
        if not token or len(token.split()) > 1 or not token.isascii():
            raise StartupError(f"{path} does not hold one token and nothing else")
        return (("authorization", f"Bearer {token}"),)

    return FileWatcher([path], load)
