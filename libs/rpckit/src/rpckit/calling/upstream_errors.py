"""What the caller of a service is told when a service behind it fails."""

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
    ServiceError,
    UpstreamError,
)

_OUR_OWN_FAULT = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class RemoteError(ServiceError):
    """A status that another service answered with, passed on as it is, details included.

    Its code and reason are the other service's, so it has no row of its own in docs/errors.md.
    """

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status) -> None:
        """Relay a status.

        Args:
            code: Its code.
            status: All of it.
        """
        super().__init__(status.message)
        self.code = code
        self.reason = _reason(status) or code.name
        self._details = list(status.details)

    def details(self) -> list[any_pb2.Any]:
        """Return the details that the other service gave."""
        return self._details


def relayed(error: aio.AioRpcError, target: str, method: str) -> ServiceError:
    """Return what a failed call to another service means here.

    Args:
        error: What grpc raised.
        target: Where the call went.
        method: Full name of the method that was called.
    """
    code = error.code()
    status = _status(error)
    hop = {"target": target, "method": method}
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"{method} did not answer in time", metadata=hop)
    if code is grpc.StatusCode.UNAVAILABLE:
        return UpstreamError(f"{method}: {status.message}", metadata=hop)
    if code in _OUR_OWN_FAULT:  # not the caller's, whatever the code says
        return UpstreamError(f"{method} answered {code.name}: {status.message}", metadata=hop)
    violations = _violations(status)
    if code is grpc.StatusCode.INVALID_ARGUMENT and violations:
        return InvalidRequestError(violations)
    return RemoteError(code, status)


def _status(error: aio.AioRpcError) -> status_pb2.Status:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the status: keep the status
        status = None
    code: int = error.code().value[0]
    return status or status_pb2.Status(code=code, message=error.details() or "")


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
