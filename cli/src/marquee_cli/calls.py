"""Calls to the services, and what is said when one fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pydantic import ValidationError

from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from rpckit.calling.channel import connect
from rpckit.errors import StartupError
from rpckit.settings.client import ClientSettings


@asynccontextmanager
async def connected(connection: Connection, target: str) -> AsyncIterator[grpc.aio.Channel]:
    """Yield a channel to a service, to make stubs of.

    Args:
        connection: TLS and token.
        target: Where the service is.

    Raises:
        CommandError: The connection's options contradict each other, or a call that was made
            inside failed.
    """
    try:
        settings = ClientSettings(target=target, **asdict(connection))
        async with connect(settings) as channel:
            yield channel.grpc
    except ValidationError as error:
        reasons = (each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise CommandError("; ".join(reasons)) from None
    except StartupError as error:
        raise CommandError(str(error)) from None
    except grpc.aio.AioRpcError as error:
        raise CommandError(explain(error, target)) from error


def explain(error: grpc.aio.AioRpcError, target: str) -> str:
    """Return one line that says why a call failed.

    Args:
        error: What the call raised.
        target: Where it went.
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
        return "refused: " + "; ".join(violations)
    text = " ".join((error.details() or "").split()).rpartition("last error: ")[2]
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason:
        return f"nothing answers at {target}; is it running? `marquee serve all` starts it ({text})"
    return f"{target} answered {error.code().name}{f' ({reason})' if reason else ''}: {text}"
