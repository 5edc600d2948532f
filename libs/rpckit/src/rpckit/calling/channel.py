"""How a process calls the services behind it: one long-lived channel for each.

What a channel does by itself is in `rpckit.calling.service_config`: it spreads calls over the
replicas that are ready, and retries where that is safe. Calls do not wait for a service that cannot
be reached (gRPC's wait-for-ready is off): they fail at once, after the retries, and the caller
decides. While a connection is only being made they do wait, within their timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from rpckit.calling.service_config import service_config
from rpckit.calling.upstream_errors import relayed
from rpckit.errors import NotReadyError, StartupError, UpstreamError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.security.tls import TlsMaterial
from rpckit.security.watched_files import FileWatcher
from rpckit.settings.client import ClientSettings

log = logging.getLogger(__name__)

Request_contra = TypeVar("Request_contra", bound=Message, contravariant=True)
Response_co = TypeVar("Response_co", bound=Message, covariant=True)

Metadata = tuple[tuple[str, str], ...]


class UnaryCall(Protocol, Generic[Request_contra, Response_co]):
    """A method of another service."""

    async def __call__(
        self,
        request: Request_contra,
        *,
        timeout: float,
        trace: TraceContext,
        joined: Sequence[TraceContext] = (),
    ) -> Response_co:
        """Call it; cancelling the caller cancels the call, at the other side too.

        Args:
            request: The request.
            timeout: Seconds that the answer may take, all attempts included.
            trace: Trace that the call belongs to.
            joined: Traces of the other calls that this one is made for, if it is a batch.

        Raises:
            DeadlineError: The time ran out.
            UpstreamError: The service cannot be reached, broke the call off, or does not accept
                this process's credentials.
            InvalidRequestError: The service refuses fields of the request.
            RemoteError: Any other status that it answered with, details included.
        """
        ...


class Channel:
    """A long-lived channel, replaced under the hood when its certificate files change."""

    def __init__(
        self,
        settings: ClientSettings,
        services: Sequence[ServiceDescriptor] = (),
        telemetry: Telemetry | None = None,
    ) -> None:
        """See `connect`."""
        self.target = settings.target
        self._settings = settings
        self._telemetry = telemetry or Telemetry("client")
        self._config = service_config(services)
        files = settings.tls_files()
        self._tls = None if files is None else files.watch(interval=1.0)
        self._token = None if settings.token_file is None else _watch_token(settings.token_file)
        self._closing: set[asyncio.Task[None]] = set()
        self._material = None if self._tls is None else self._tls.get()
        self._channel = self._open()
        self._for_stubs: aio.Channel | None = None

    @property
    def grpc(self) -> aio.Channel:
        """The channel as it is now, for generated stubs; their calls carry the token too."""
        channel = self.current()
        if self._token is None:
            return channel
        if self._for_stubs is None:
            self._for_stubs = self._open([_AddToken(self._token)])
        return self._for_stubs

    def unary(
        self, method: MethodDescriptor, parse: Callable[[bytes], Any] | None = None
    ) -> UnaryCall[Any, Any]:
        """Return a method to be called.

        Args:
            method: From the generated module's DESCRIPTOR.
            parse: Makes of a serialized response what a call returns. Default: its message.
        """
        return _Unary(self, method, self._telemetry, parse)

    def check_ready(self) -> None:
        """Find out, without a call, whether a replica of the service is ready.

        Raises:
            NotReadyError: None is, or it is not known yet.
        """
        state = self.current().get_state(try_to_connect=True)
        if state is not grpc.ChannelConnectivity.READY:
            raise NotReadyError(f"no replica at {self.target} is ready ({state.name.lower()})")

    async def close(self, grace: float | None = None) -> None:
        """Close; calls under way end after `grace` seconds at the latest."""
        await asyncio.gather(_close(self._channels(), grace), *self._closing)

    def current(self) -> aio.Channel:
        """Return the gRPC channel for a call that begins now."""
        if self._tls is not None and (material := self._tls.get()) is not self._material:
            log.info("reconnecting to %s with the changed certificates", self.target)
            # Calls under way end on the connection that they began on.
            closing = asyncio.create_task(_close(self._channels(), self._settings.timeout_s))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._material = material
            self._channel = self._open()
            self._for_stubs = None
        return self._channel

    def token_metadata(self) -> Metadata:
        """Return the metadata that says who calls."""
        return () if self._token is None else self._token.get()

    def _open(self, interceptors: Sequence[aio.ClientInterceptor] = ()) -> aio.Channel:
        options = channel_options(self._settings, self._config)
        if self._material is None:
            return aio.insecure_channel(self.target, options, interceptors=interceptors)
        credentials = _credentials(self._material)
        return aio.secure_channel(self.target, credentials, options, interceptors=interceptors)

    def _channels(self) -> list[aio.Channel]:
        return [self._channel] if self._for_stubs is None else [self._channel, self._for_stubs]


@asynccontextmanager
async def connect(
    settings: ClientSettings, *services: ServiceDescriptor, telemetry: Telemetry | None = None
) -> AsyncIterator[Channel]:
    """Open a channel on the running loop; connections are made when they are needed.

    Args:
        settings: Where to, and how.
        services: The services that will be called. Their idempotent methods are retried, and only
            replicas on which the first one is ready are called.
        telemetry: Where the calls of `Channel.unary` are measured.

    Raises:
        StartupError: A certificate or token file is no good.
    """
    channel = Channel(settings, services, telemetry)
    try:
        yield channel
    finally:
        await channel.close()


def channel_options(settings: ClientSettings, config: str) -> list[tuple[str, str | int]]:
    """Return the channel arguments of a client; a server's are in its host's module."""
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", config),
        ("grpc.service_config_disable_resolution", 1),  # the one in DNS would win
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A restarted replica is found within 0.6 s, jitter included, before the next one restarts.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # what it calls the time for one attempt
        ("grpc.max_reconnect_backoff_ms", 500),
        # A new one is found once a server has asked to reconnect (max_connection_age).
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]
    if settings.tls_server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls_server_name))
    return options


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
        self._serialize = GetMessageClass(method.input_type).SerializeToString
        self._parse = parse or GetMessageClass(method.output_type).FromString
        self._recorder = telemetry.client(path)
        self._made_on: aio.Channel | None = None

    async def __call__(
        self,
        request: Message,
        *,
        timeout: float,
        trace: TraceContext,
        joined: Sequence[TraceContext] = (),
    ) -> Any:
        channel = self._channel.current()
        if channel is not self._made_on:
            self._made_on = channel
            self._call = channel.unary_unary(f"/{self._path}", self._serialize, self._parse)
        with self._recorder.call(trace, *joined) as place:
            try:
                return await self._call(
                    request,
                    timeout=timeout,
                    metadata=place.metadata() + self._channel.token_metadata(),
                )
            except aio.AioRpcError as error:
                raise relayed(error, self._channel.target, self._path) from error
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Nobody cancelled the caller, so the channel was closed under the call.
                raise UpstreamError(f"the channel to {self._channel.target} was closed") from None


class _AddToken(aio.UnaryUnaryClientInterceptor):
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
