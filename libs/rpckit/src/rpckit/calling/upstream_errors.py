"""Errors of upstream services, as this service reports them to its own caller."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from rpckit.errors import (
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    MessageTooLargeError,
    ServiceError,
    UpstreamError,
)

_MISCONFIGURED_CLIENT_CODES = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Codes that blame this process, which is the client here: its token or its version is wrong. To
its own caller they are an outage."""


MAX_DETAILS_BYTES = 4096
"""Most bytes of details that are passed on; see the bounds in `rpckit.errors`."""


class RemoteError(ServiceError):
    """The status of an upstream service, passed on unchanged with its details.

    Code and reason are the upstream service's, so docs/errors.md has no row for this class.
    """

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status) -> None:
        """Pass on a status.

        Args:
            code: Code of the status.
            status: The status, details included.
        """
        super().__init__(status.message)
        self.code = code
        self.reason = _reason(status) or code.name
        # This project's services bound their own errors; what stands between need not.
        small = sum(len(detail.value) for detail in status.details) <= MAX_DETAILS_BYTES
        self._details = list(status.details) if small else []

    def details(self) -> list[any_pb2.Any]:
        """Return the details of the upstream status; none if they are too large to pass on."""
        return self._details


def to_service_error(error: aio.AioRpcError, target: str, method: str) -> ServiceError:
    """Return the error that a failed upstream call becomes for this service's caller.

    Args:
        error: The failure, as grpc.aio raised it.
        target: gRPC target of the upstream service.
        method: Full name of the called method.
    """
    code = error.code()
    status = _status(error)
    hop = {"target": target, "method": method}
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"{method} did not answer in time", metadata=hop)
    if code is grpc.StatusCode.UNAVAILABLE:
        return UpstreamError(f"{method}: {status.message}", metadata=hop)
    if code in _MISCONFIGURED_CLIENT_CODES:
        return UpstreamError(f"{method} answered {code.name}: {status.message}", metadata=hop)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _is_about_size(status):
        return MessageTooLargeError(f"{method}: {status.message}", metadata=hop)
    violations = _violations(status)
    if code is grpc.StatusCode.INVALID_ARGUMENT and violations:
        return InvalidRequestError(violations)
    return RemoteError(code, status)


def _status(error: aio.AioRpcError) -> status_pb2.Status:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # the details contradict the status: drop them
        status = None
    code: int = error.code().value[0]
    return status or status_pb2.Status(code=code, message=error.details() or "")


def _is_about_size(status: status_pb2.Status) -> bool:
    """Tell whether a message was too large: for a handler, a host, or gRPC itself on either side.

    C-core has no other sign of it than its text, "Received message larger than max" or "Sent …".
    """
    reason = _reason(status)
    return reason == MessageTooLargeError.reason or (not reason and "larger than" in status.message)


def _reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def _violations(status: status_pb2.Status) -> list[FieldViolation]:
    bad = error_details_pb2.BadRequest()
    return [
        FieldViolation(violation.field, violation.description)
        for detail in status.details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]
