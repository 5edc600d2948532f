"""The steps around every handler: admission, authorization, deadline, errors, measurement.

A host (`rpckit.serving.server.Host`) passes in the metadata of a call and a way to read its bytes,
and gets back bytes or a `ServiceError`. So neither the servicers nor this module depend on a host.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from rpckit.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    MessageTooLargeError,
    OverloadedError,
    ServiceError,
)
from rpckit.observing.logs import AccessLog
from rpckit.observing.metrics.recorders import RpcRecorder
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.admission import Admission, MethodAdmission
from rpckit.serving.call import Call, UnreadableRequestError
from rpckit.serving.deadlines import Deadlines

log = logging.getLogger(__name__)

Handler = Callable[[Any, Call], Awaitable[Message | bytes]]
"""Answers a parsed request with a response, parsed or serialized."""
ReadBody = Callable[[str], Awaitable[bytes]]
"""Waits for the serialized request of a caller, of whom it gets the name."""


@dataclass(frozen=True)
class Mount:
    """A servicer to serve, with its service, readiness check and permission."""

    service: ServiceDescriptor
    """Descriptor of the service, from the generated module's DESCRIPTOR."""
    servicer: object
    """Has a coroutine method `(request, call) -> response` for each RPC, named as the RPC. An RPC
    without a method is answered with UNIMPLEMENTED, like one of a newer contract."""
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
    admission: MethodAdmission


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
        admission: Admission,
        default_deadline: float,
        margin: float,
        max_send_bytes: int,
    ) -> None:
        """Resolve the methods of all mounts.

        Args:
            mounts: The services.
            telemetry: Counts, times and traces the calls.
            access_log: Logs the calls.
            authorizer: Identifies callers and checks their permissions.
            admission: Decides which calls are refused.
            default_deadline: Budget of a call without a deadline, in seconds.
            margin: See Call.margin, in seconds.
            max_send_bytes: Largest serialized response.

        Raises:
            AttributeError: A servicer lacks a method of its service.
        """
        self._telemetry = telemetry
        self._access_log = access_log
        self._authorizer = authorizer
        self._admission = admission
        self._default_deadline = default_deadline
        self._margin = margin
        self._max_send_bytes = max_send_bytes
        self._deadlines = Deadlines()
        self._overloaded = OverloadedError(
            "the calls under way already take as long as a call may", retry_after=0.1
        )
        self.methods = {m.path: m for mount in mounts for m in self._resolve(mount)}

    @property
    def in_flight(self) -> int:
        """Number of calls that are being answered."""
        return self._admission.in_flight

    async def dispatch(
        self,
        method: Method,
        read_body: ReadBody,
        metadata: Mapping[str, str | bytes],
        timeout: float | None,
    ) -> bytes:
        """Answer one call.

        Args:
            method: The RPC.
            read_body: Reads the request. It is called once the caller is authorized, and cancelled
                if the request has not arrived within the default deadline or the caller's own.
            metadata: Metadata of the call, keys in lower case.
            timeout: Time until the caller's deadline in seconds. None: the caller set none.

        Returns:
            The serialized response.

        Raises:
            ServiceError: The call failed; the host sends its status to the caller.
            UnreadableRequestError: As `read_body` raised it; the host sends its status, too.
            CancelledError: The host cancelled the call. No other exception is raised.
        """
        started = time.monotonic()
        budget = self._default_deadline if timeout is None else timeout
        # Nothing that an unauthorized caller sends reaches traces or logs.
        caller, trace, body = "anonymous", TraceContext(), b""
        failure: Exception | None = None
        try:
            caller = self._authorizer.authorize(metadata, method.permission)
            trace = TraceContext.from_metadata(metadata)
            body = await self._read(read_body, caller, started, budget)
        except Exception as error:  # raised below, where every call is counted
            failure = error
        # A place is taken for the work, not for the arrival of a request.
        now = time.monotonic()
        admitted = failure is None and method.admission.enter(now, started + budget - now)
        if failure is None and not admitted:
            method.recorder.record("RESOURCE_EXHAUSTED", 0.0, caller)
            self._access_log.write(method.path, "RESOURCE_EXHAUSTED", 0.0, caller, None)
            raise self._overloaded.with_traceback(None)
        code = "OK"
        span = self._telemetry.server_span(method.path, trace)
        try:
            if failure is not None:
                raise failure
            call = Call(method.path, caller, started + budget, self._margin, span.context)
            with self._deadlines.timeout_at(call.deadline):
                response = await method.handler(_parse(method, body), call)
            return self._serialize(response)
        except (ServiceError, UnreadableRequestError) as error:
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
            failure = None  # its traceback has this frame: a cycle, and it would keep the request
            if admitted:
                method.admission.leave(code == "OK")
            seconds = time.monotonic() - started
            span.end(code)
            method.recorder.record(code, seconds, caller)
            self._access_log.write(method.path, code, seconds, caller, span.context)

    def _serialize(self, response: Message | bytes) -> bytes:
        """Return the bytes to send. Checked here, where every failure is counted, not by a host."""
        answer = response if isinstance(response, bytes) else response.SerializeToString()
        if len(answer) > self._max_send_bytes:
            raise MessageTooLargeError(
                f"the response has {len(answer)} bytes; the limit is {self._max_send_bytes}"
            )
        return answer

    async def _read(self, read_body: ReadBody, caller: str, started: float, budget: float) -> bytes:
        if budget <= 0:
            raise DeadlineError("the deadline had passed when the call arrived")
        try:
            with self._deadlines.timeout_at(started + min(budget, self._default_deadline)):
                return await read_body(caller)
        except TimeoutError:
            raise DeadlineError("the request took too long to arrive") from None

    def _resolve(self, mount: Mount) -> list[Method]:
        rpcs = [rpc for rpc in mount.service.methods if hasattr(mount.servicer, rpc.name)]
        if not rpcs:
            servicer = type(mount.servicer).__name__
            raise TypeError(f"{servicer} has no method for any RPC of {mount.service.full_name}")
        return [self._method(mount, rpc) for rpc in rpcs]

    def _method(self, mount: Mount, rpc: MethodDescriptor) -> Method:
        path = f"{mount.service.full_name}/{rpc.name}"
        admission = self._admission.for_method()
        self._telemetry.admission(path, lambda: admission.in_flight, lambda: admission.limit)
        return Method(
            path=path,
            handler=getattr(mount.servicer, rpc.name),
            parse=GetMessageClass(rpc.input_type).FromString,
            permission=mount.permission,
            recorder=self._telemetry.rpc(path),
            admission=admission,
        )


def _parse(method: Method, body: bytes) -> Message:
    try:
        return method.parse(body)
    except DecodeError:
        raise InvalidRequestError.of("request", "is not a valid protobuf message") from None
