from __future__ import annotations

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2

from rpckit.errors import (
    MAX_MESSAGE_BYTES,
    MAX_VIOLATIONS,
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


LONG = "\u1234" * 20_000
"""Three bytes of UTF-8 each, which grpc-message percent-encodes as nine."""


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError(LONG, metadata={f"key{n}": LONG for n in range(50)}, retry_after=1.0),
        InvalidRequestError([FieldViolation(LONG, LONG)] * 1000),
        InvalidRequestError([FieldViolation("f", "\ud800 half of a pair")]),
    ],
    ids=["metadata", "violations", "surrogate"],
)
def test_no_error_comes_near_the_limit_of_8_kib_for_trailers(error: ServiceError) -> None:
    status = error.status()
    message = quote(status.message.encode(), safe="")
    details = base64.b64encode(status.SerializeToString())
    assert len(message) + len(details) < 7_900


def test_a_refusal_says_how_many_violations_it_leaves_out() -> None:
    error = InvalidRequestError([FieldViolation(f"ids[{n}]", "is 0") for n in range(80)])
    assert [violation.field for violation in error.violations] == [
        f"ids[{n}]" for n in range(MAX_VIOLATIONS)
    ]
    assert error.message.endswith(f"; and at least {80 - MAX_VIOLATIONS} more")


def test_a_long_text_is_cut_between_characters() -> None:
    message = OverloadedError(LONG).message
    assert len(message.encode()) <= MAX_MESSAGE_BYTES
    assert message == LONG[: len(message) - 1] + "…"
