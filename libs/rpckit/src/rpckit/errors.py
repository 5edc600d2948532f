"""Errors of calls: each is an exception that knows its gRPC status.

The code of a service raises a `ServiceError`; the server turns it into a status with google.rpc
details (https://google.aip.dev/193). Each concrete class is one row of docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "marquee"

# gRPC drops a call whose trailers exceed the receiver's limit, by default 8 KiB, and reports
# RESOURCE_EXHAUSTED in place of the error. These bounds keep every error below it: a status travels
# twice, percent-encoded as grpc-message and in base64 as grpc-status-details-bin.
MAX_MESSAGE_BYTES = 400
"""Longest message, in UTF-8."""
MAX_VIOLATIONS = 10
"""Most violations in one BadRequest; the message says how many more there are."""
MAX_FIELD_BYTES = 120
"""Longest path of a field in a violation, in UTF-8."""
MAX_DESCRIPTION_BYTES = 200
"""Longest description of a violation, in UTF-8; it may echo what the caller sent."""
MAX_METADATA_ENTRIES = 8
"""Most entries of ErrorInfo.metadata."""
MAX_METADATA_VALUE_BYTES = 100
"""Longest value in ErrorInfo.metadata, in UTF-8."""


class StartupError(Exception):
    """The process cannot start; the message is one line for the person who started it."""

    def __init__(self, message: str) -> None:
        """Take a message, and join its lines: some libraries' messages have several."""
        super().__init__(" ".join(message.split()))


class NotReadyError(Exception):
    """A readiness check failed; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that is invalid, and why."""

    field: str
    """Path from the request, as in `users[3].age`."""
    description: str
    """What is wrong, and what would be valid."""


class ServiceError(Exception):
    """An error that the caller receives as a status.

    A subclass sets the four class attributes, which are its row in docs/errors.md. (The exception
    is `rpckit.calling.upstream_errors.RemoteError`: it passes on the error of an upstream service,
    so its instances have code and reason.)
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
        """Create the error.

        Args:
            message: Message for the caller; no secrets, nothing about other callers. It is cut
                at MAX_MESSAGE_BYTES.
            metadata: Values of ErrorInfo.metadata, cut at MAX_METADATA_VALUE_BYTES each.
            retry_after: Seconds after which a retry may succeed; becomes RetryInfo.
        """
        self.message = shorten(message, MAX_MESSAGE_BYTES)
        super().__init__(self.message)
        entries = list((metadata or {}).items())[:MAX_METADATA_ENTRIES]
        self.metadata = {key: shorten(value, MAX_METADATA_VALUE_BYTES) for key, value in entries}
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
        """Return the google.rpc.Status to send; built once."""
        if self._status is None:
            code = code_pb2.Code.Value(self.code.name)
            self._status = status_pb2.Status(
                code=code, message=self.message, details=self.details()
            )
        return self._status


class InvalidRequestError(ServiceError):
    """Fields of the request are invalid."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"
    when = "A field is out of range, unknown or contradicts another; BadRequest names each."
    action = "Correct the fields that BadRequest.field_violations names; a retry cannot help."

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        """Refuse a request because of one or more violations.

        The first MAX_VIOLATIONS are kept, their texts cut at their bounds. Code that looks for
        violations can stop when it has found more than that.
        """
        self.violations = tuple(_bounded(violation) for violation in violations[:MAX_VIOLATIONS])
        text = "; ".join(f"{v.field}: {v.description}" for v in self.violations)
        left_out = len(violations) - len(self.violations)
        if left_out > 0:
            suffix = f"; and at least {left_out} more"
            text = shorten(text, MAX_MESSAGE_BYTES - len(suffix)) + suffix
        super().__init__(text)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequestError:
        """Refuse a request because of one field."""
        return cls([FieldViolation(field, description)])

    def renaming(self, field: str, callers_field: str) -> InvalidRequestError:
        """Return the refusal for a caller whose request has another name for a field."""
        return InvalidRequestError(
            [
                FieldViolation(each.field.replace(field, callers_field, 1), each.description)
                for each in self.violations
            ]
        )

    def details(self) -> list[any_pb2.Any]:
        """Return the details of every error, and a BadRequest."""
        bad = error_details_pb2.BadRequest()
        for violation in self.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        return [*super().details(), _pack(bad)]


class OverloadedError(ServiceError):
    """The server is at a limit; the call is refused at once rather than queued."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    when = "Calls take too long because of those before them, or a queue is full."
    action = "Retry after RetryInfo.retry_delay, with backoff; add replicas if it lasts."


class MessageTooLargeError(ServiceError):
    """A request or its response is larger than a message may be."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "MESSAGE_TOO_LARGE"
    when = "The request or its response is larger than a limit of the server or of the client."
    action = "Ask for less at once: fewer rows or hits. A retry cannot help; limits are settings."


class ShuttingDownError(ServiceError):
    """The process is stopping and accepts no new work."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "SHUTTING_DOWN"
    when = "The call reached a server that is draining before it stops."
    action = "Retry; another replica, or the restarted one, answers."


class DeadlineError(ServiceError):
    """The deadline passed, or is too close to start the work."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    when = "The deadline passed, or was too close to start the work."
    action = "Give a longer deadline, or look at the queue times in the metrics."


class UnauthenticatedError(ServiceError):
    """The caller has no valid credentials."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    when = "Tokens are required and the call has none, or one that is not in the file."
    action = "Send `authorization: Bearer TOKEN` with a token of the server's token file."


class PermissionDeniedError(ServiceError):
    """The caller lacks the permission for this method."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    when = "The token is valid but lacks the permission that the method needs."
    action = "Use a token with that permission; docs/security.md lists them by method."


class InternalError(ServiceError):
    """A defect; the message has an id, under which the log has the traceback."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"
    when = "The service has a defect."
    action = "Look up the error id in the service's log, and report it."


class UpstreamError(ServiceError):
    """An upstream service or store did not answer."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UPSTREAM_UNAVAILABLE"
    when = "An upstream service or store cannot be reached, or broke the call off."
    action = "Retry with backoff; ErrorInfo.metadata names the service: look at its health."


def shorten(text: str, max_bytes: int) -> str:
    """Return a text of at most `max_bytes` bytes of UTF-8, cut with an ellipsis where it is longer.

    What cannot be encoded, such as half of a surrogate pair, is replaced.
    """
    encoded = text.encode(errors="replace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    ellipsis = "…"
    return encoded[: max_bytes - len(ellipsis.encode())].decode(errors="ignore") + ellipsis


def _bounded(violation: FieldViolation) -> FieldViolation:
    return FieldViolation(
        shorten(violation.field, MAX_FIELD_BYTES),
        shorten(violation.description, MAX_DESCRIPTION_BYTES),
    )


def _pack(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.RetryInfo
    | error_details_pb2.BadRequest,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
