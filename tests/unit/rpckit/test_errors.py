from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from rpckit.errors import (
    FieldViolation,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    StartupError,
)


def detail(error: ServiceError, kind: type) -> object:
    for packed in error.status().details:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def test_a_startup_error_is_one_line_even_if_its_cause_has_several() -> None:
    assert str(StartupError("Paddle says:\n  C++ trace\n\n  more")) == "Paddle says: C++ trace more"


def test_an_error_names_its_reason_and_domain() -> None:
    info = detail(
        OverloadedError("full", metadata={"queue": "search"}), error_details_pb2.ErrorInfo
    )
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "OVERLOADED",
        "marquee",
        {"queue": "search"},
    )


def test_retry_info_is_given_only_where_a_retry_helps() -> None:
    retry = detail(OverloadedError("full", retry_after=0.25), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert detail(InvalidRequestError.of("a", "b"), error_details_pb2.RetryInfo) is None


def test_a_bad_request_names_every_violation() -> None:
    error = InvalidRequestError([FieldViolation("a.b", "is x"), FieldViolation("c[1]", "is y")])
    bad = detail(error, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("a.b", "is x"),
        ("c[1]", "is y"),
    ]
    assert error.status().message == "a.b: is x; c[1]: is y"
    assert error.status().code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*(subclasses(each) for each in cls.__subclasses__()))


@pytest.mark.parametrize("text", ["when", "action"])
def test_every_error_says_when_it_happens_and_what_to_do(text: str) -> None:
    import search_service.index.errors  # noqa: F401 - so that its errors are known

    for error in subclasses(ServiceError) - {ServiceError}:
        if error.__module__ == "rpckit.calling.upstream_errors":
            continue  # another server's error, whatever that says
        assert getattr(error, text).endswith("."), error


def test_reasons_are_unique() -> None:
    reasons = [
        error.reason
        for error in subclasses(ServiceError)
        if isinstance(error.__dict__.get("reason"), str)
    ]
    assert len(reasons) == len(set(reasons)) > 8
