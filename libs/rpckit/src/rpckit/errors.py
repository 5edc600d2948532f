"""The one way in which a call fails: an exception that knows its gRPC status.

A core raises a `ServiceError`; the server turns it into a status with google.rpc details
(https://google.aip.dev/193). Each concrete class is one row of docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "marquee"


class StartupError(Exception):
    """A process cannot start; its message is one line for the person who started it."""

    def __init__(self, message: str) -> None:
        """Say why, in one line whatever a library's own words look like."""
        super().__init__(" ".join(message.split()))


class NotReadyError(Exception):
    """A readiness check failed; its message says what is missing."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with one field of a request."""

    field: str
    """Path from the request, as in `users[3].age`."""
    description: str
    """What is wrong and what would be right."""


class ServiceError(Exception):
    """An error that a caller is told about.

    A subclass states the four class attributes; they are its row in docs/errors.md. (Only
    `rpckit.calling.upstream_errors.RemoteError`, which passes on the error of another server, has
    its code and reason by instance.)
    """

    code: grpc.StatusCode
    reason: str
    """Value of ErrorInfo.reason: stable, UPPER_SNAKE_CASE, unique."""
    when: ClassVar[str]
    """When a caller sees it."""
    action: ClassVar[str]
    """What the caller, or whoever runs the service, can do."""

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Say what happened.

        Args:
            message: For the caller; no secrets and nothing of other callers.
            metadata: Values of ErrorInfo.metadata.
            retry_after: Seconds after which a retry may succeed; becomes RetryInfo.
        """
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self._status: status_pb2.Status | None = None

    def details(self) -> list[any_pb2.Any]:
        """Return the google.rpc details, packed."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        details = [_pack(info)]
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        return details

    def status(self) -> status_pb2.Status:
        """Return the google.rpc.Status that crosses the wire; made once."""
        if self._status is None:
            code = code_pb2.Code.Value(self.code.name)
            self._status = status_pb2.Status(
                code=code, message=self.message, details=self.details()
            )
        return self._status


class InvalidRequestError(ServiceError):
    """A request has fields that cannot be honoured."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"
    when = "A field is out of range, unknown or contradicts another; BadRequest names each."
    action = "Correct the fields that BadRequest.field_violations names; a retry cannot help."

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        """Refuse a request for the violations given, at least one."""
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequestError:
        """Refuse a request for one field."""
        return cls([FieldViolation(field, description)])

    def details(self) -> list[any_pb2.Any]:
        """Return the details of every error, and BadRequest."""
        bad = error_details_pb2.BadRequest()
        for violation in self.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        return [*super().details(), _pack(bad)]


class OverloadedError(ServiceError):
    """Too much is under way; refused at once rather than queued."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    when = "As many calls or queued items are under way as the server admits."
    action = "Retry after RetryInfo.retry_delay, with backoff; add replicas if it lasts."


class ShuttingDownError(ServiceError):
    """The process is about to end and takes no new work."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "SHUTTING_DOWN"
    when = "The call reached a server that is draining before it stops."
    action = "Retry; another replica, or the restarted one, answers."


class DeadlineError(ServiceError):
    """The caller's budget ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    when = "The deadline passed, or so little of it was left that the work was not begun."
    action = "Give a longer deadline, or look at the queue times in the metrics."


class UnauthenticatedError(ServiceError):
    """The caller did not say who it is, or not credibly."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    when = "Tokens are required and the call has none, or one that is not in the file."
    action = "Send `authorization: Bearer TOKEN` with a token of the server's token file."


class PermissionDeniedError(ServiceError):
    """The caller is known but may not call this method."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    when = "The token is valid but lacks the permission that the method needs."
    action = "Use a token with that permission; docs/security.md lists them by method."


class InternalError(ServiceError):
    """A defect; what happened is in the log, under the id that the message gives."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"
    when = "The service met a case that it should not have: a defect."
    action = "Look the error id up in the service's log and report it."


class UpstreamError(ServiceError):
    """A service or store that this one needs did not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UPSTREAM_UNAVAILABLE"
    when = "A service or store behind this one cannot be reached or broke the call off."
    action = "Retry with backoff; see which one in ErrorInfo.metadata and in its health."


def _pack(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.RetryInfo
    | error_details_pb2.BadRequest,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
