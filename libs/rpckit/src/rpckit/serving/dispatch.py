"""The steps around every handler: admission, authorization, deadline, errors, measurement.

A host (`rpckit.serving.server.Host`) passes in the bytes and metadata of a call, and gets back
bytes or a `ServiceError`. So neither the servicers nor this module depend on a host.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from rpckit.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
)
from rpckit.observing.logs import AccessLog
from rpckit.observing.metrics.recorders import RpcRecorder
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.call import Call
from rpckit.serving.deadlines import Deadlines

log = logging.getLogger(__name__)

Handler = Callable[[Any, Call], Awaitable[Message | bytes]]
"""Answers a parsed request with a response, parsed or serialized."""


@dataclass(frozen=True)
class Mount:
    """A servicer to serve, with its service, readiness check and permission."""

    service: ServiceDescriptor
    """Descriptor of the service, from the generated module's DESCRIPTOR."""
    servicer: object
    """Has a coroutine method `(request, call) -> response` for each RPC, named as the RPC."""
    ready: Callable[[], Awaitable[None]]
    """Readiness check: raises NotReadyError while the service cannot answer. Polled."""
    permission: str = "read"
    """Permission that callers need: one of `rpckit.security.tokens.PERMISSIONS`."""


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC, resolved at start."""

    path: str
    handler: Handler
    parse: Callable[[bytes], Message]
    permission: str
    recorder: RpcRecorder


class Authorizer(Protocol):
    """Identifies callers and checks their permissions."""

    def authorize(self, metadata: Mapping[str, str | bytes], permission: str) -> str:
        """Return the caller's name.

        Raises:
            UnauthenticatedError: The caller has no valid credentials.
            PermissionDeniedError: The caller lacks the permission.
        """
        ...


class AllowAll:
    """Allows every call, for servers without tokens."""

    def authorize(self, metadata: Mapping[str, str | bytes], permission: str) -> str:  # noqa: ARG002
        """Return the name `anonymous`."""
        return "anonymous"


class Dispatcher:
    """Runs handlers with the guarantees of every Marquee RPC."""

    def __init__(
        self,
        mounts: Sequence[Mount],
        *,
        telemetry: Telemetry,
        access_log: AccessLog,
        authorizer: Authorizer,
        max_concurrent: int,
        default_deadline: float,
        margin: float,
    ) -> None:
        """Resolve the methods of all mounts.

        Args:
            mounts: The services.
            telemetry: Counts, times and traces the calls.
            access_log: Logs the calls.
            authorizer: Identifies callers and checks their permissions.
            max_concurrent: Largest number of calls in flight; more are refused.
            default_deadline: Budget of a call without a deadline, in seconds.
            margin: See Call.margin, in seconds.

        Raises:
            AttributeError: A servicer lacks a method of its service.
        """
        self._telemetry = telemetry
        self._access_log = access_log
        self._authorizer = authorizer
        self._max_concurrent = max_concurrent
        self._default_deadline = default_deadline
        self._margin = margin
        self._in_flight = 0
        self._deadlines = Deadlines()
        self._overloaded = OverloadedError(f"{max_concurrent} calls are under way", retry_after=0.1)
        telemetry.admission(lambda: self._in_flight, max_concurrent)
        self.methods = {m.path: m for mount in mounts for m in self._resolve(mount)}

    @property
    def in_flight(self) -> int:
        """Number of calls that are being answered."""
        return self._in_flight

    async def dispatch(
        self,
        method: Method,
        body: bytes,
        metadata: Mapping[str, str | bytes],
        timeout: float | None,
    ) -> bytes:
        """Answer one call.

        Args:
            method: The RPC.
            body: The serialized request.
            metadata: Metadata of the call, keys in lower case.
            timeout: Time until the caller's deadline in seconds. None: the caller set none.

        Returns:
            The serialized response.

        Raises:
            ServiceError: The call failed; the host sends its status to the caller.
            CancelledError: The host cancelled the call. No other exception is raised.
        """
        started = time.monotonic()
        if self._in_flight >= self._max_concurrent:
            # Refused before any work, so the caller is not identified for the metrics either.
            method.recorder.record("RESOURCE_EXHAUSTED", 0.0, "anonymous")
            self._access_log.write(method.path, "RESOURCE_EXHAUSTED", 0.0, "anonymous", None)
            raise self._overloaded.with_traceback(None)
        failure: Exception | None = None
        try:
            caller = self._authorizer.authorize(metadata, method.permission)
            trace = TraceContext.from_metadata(metadata)
        except Exception as error:  # raised below, where every call is counted
            # Nothing that an unauthorized caller sends reaches traces or logs.
            caller, trace, failure = "anonymous", TraceContext(), error
        code = "OK"
        self._in_flight += 1
        span = self._telemetry.server_span(method.path, trace)
        try:
            if failure is not None:
                raise failure
            budget = self._default_deadline if timeout is None else timeout
            if budget <= 0:
                raise DeadlineError("the deadline had passed when the call arrived")
            call = Call(method.path, caller, started + budget, self._margin, span.context)
            with self._deadlines.timeout_at(call.deadline):
                response = await method.handler(_parse(method, body), call)
            return response if isinstance(response, bytes) else response.SerializeToString()
        except ServiceError as error:
            code = error.code.name
            raise
        except TimeoutError:
            code = "DEADLINE_EXCEEDED"
            raise DeadlineError("the deadline passed before the answer was ready") from None
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:
            code = "INTERNAL"
            error_id = uuid.uuid4().hex[:12]
            trace_id = span.context.trace_id
            log.exception("defect %s in %s", error_id, method.path, extra={"trace_id": trace_id})
            raise InternalError(f"internal error {error_id}") from error
        finally:
            self._in_flight -= 1
            seconds = time.monotonic() - started
            span.end(code)
            method.recorder.record(code, seconds, caller)
            self._access_log.write(method.path, code, seconds, caller, span.context)

    def _resolve(self, mount: Mount) -> list[Method]:
        return [
            Method(
                path=f"{mount.service.full_name}/{rpc.name}",
                handler=getattr(mount.servicer, rpc.name),
                parse=GetMessageClass(rpc.input_type).FromString,
                permission=mount.permission,
                recorder=self._telemetry.rpc(f"{mount.service.full_name}/{rpc.name}"),
            )
            for rpc in mount.service.methods
        ]


def _parse(method: Method, body: bytes) -> Message:
    try:
        return method.parse(body)
    except DecodeError:
        raise InvalidRequestError.of("request", "is not a valid protobuf message") from None
