"""Channels to the services, and error messages for failed calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pydantic import ValidationError

from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from rpckit.calling.channel import connect
from rpckit.errors import StartupError
from rpckit.settings.client import ClientSettings
from suite.services import Service


class CallError(CommandError):
    """A call failed; the message names the service and says why."""

    def __init__(self, error: grpc.aio.AioRpcError, service: Service, target: str) -> None:
        """Explain the error of a call to a service."""
        super().__init__(explain(error, service, target))
        self.code = error.code()
        """Status code of the call."""


@asynccontextmanager
async def connected(
    connection: Connection, service: Service, target: str
) -> AsyncIterator[grpc.aio.Channel]:
    """Yield a channel to a service, whose unary calls raise CallError.

    Args:
        connection: TLS and token.
        service: Which service it is; error messages name it.
        target: Address of the service.

    Raises:
        CommandError: The connection's options contradict each other, or a stream that was opened
            inside the block failed.
    """
    try:
        async with connect(client_settings(connection, service, target)) as channel:
            yield cast("grpc.aio.Channel", _ServiceChannel(channel.grpc, service, target))
    except StartupError as error:
        raise CommandError(str(error)) from None
    except grpc.aio.AioRpcError as error:
        raise CallError(error, service, target) from error


def client_settings(
    connection: Connection, service: Service, target: str, **others: object
) -> ClientSettings:
    """Return the settings of a client of a service.

    Args:
        connection: TLS and token.
        service: Which service it is; error messages name it.
        target: Address of the service.
        others: Its other settings, as in `timeout_s`.

    Raises:
        CommandError: The target is not one, or the connection's options contradict each other.
    """
    try:
        return ClientSettings.model_validate({"target": target, **asdict(connection), **others})
    except ValidationError as error:
        reasons = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise CommandError(f"cannot call the {service.name} service: {reasons}") from None


class _ServiceChannel:
    """A channel for stubs that knows its service, for where a command uses several at once."""

    def __init__(self, channel: grpc.aio.Channel, service: Service, target: str) -> None:
        self._service = service
        self._target = target
        self._call = channel.unary_unary
        self.unary_stream = channel.unary_stream
        self.stream_unary = channel.stream_unary
        self.stream_stream = channel.stream_stream

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Awaitable[Any]]:
        call = self._call(*arguments, **options)

        async def checked(request: Any, **call_options: Any) -> Any:
            try:
                return await call(request, **call_options)
            except grpc.aio.AioRpcError as error:
                raise CallError(error, self._service, self._target) from error

        return checked


def explain(error: grpc.aio.AioRpcError, service: Service, target: str) -> str:
    """Return one line that says why a call failed.

    Args:
        error: The error of the call.
        service: Service that was called.
        target: Address of the service.
    """
    violations, reason = [], ""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad):
            violations = [f"{v.field}: {v.description}" for v in bad.field_violations]
        elif detail.Unpack(info):
            reason = info.reason
    if violations:
        return f"the {service.name} service refused: " + "; ".join(violations)
    where = f"the {service.name} service at {target}"
    text = " ".join((error.details() or "").split()).rpartition("last error: ")[2]
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason:
        return f"{where} does not answer; `marquee serve all` starts it ({text})"
    return f"{where} answered {error.code().name}{f' ({reason})' if reason else ''}: {text}"
