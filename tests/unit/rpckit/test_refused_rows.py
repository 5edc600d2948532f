"""Rows that are refused alone, or that fail their request."""

from __future__ import annotations

import pytest

from rpckit.errors import (
    MAX_DESCRIPTION_BYTES,
    MAX_FIELD_BYTES,
    MAX_VIOLATIONS,
    FieldViolation,
    InvalidRequestError,
)
from rpckit.refused_rows import RefusedRows, refusals


def violation(field: str) -> FieldViolation:
    return FieldViolation(field, "is bad")


def test_with_partial_success_any_number_of_rows_is_refused_in_their_order() -> None:
    refused = RefusedRows(partial_success=True)
    for row in reversed(range(100)):
        refused.add(row, [violation(f"users[{row}].age")])
    refused.check()
    messages = list(refused.messages())
    assert [message.row for message in messages] == list(range(100))
    assert messages[7].violations[0].field == "users[7].age"
    assert messages[7].violations[0].description == "is bad"


def test_without_partial_success_the_first_bad_rows_fail_the_request() -> None:
    refused = RefusedRows(partial_success=False)
    refused.check()
    for row in range(MAX_VIOLATIONS):
        refused.add(row, [violation(f"users[{row}].age")])
    with pytest.raises(InvalidRequestError) as refusal:
        refused.add(MAX_VIOLATIONS, [violation("one too many")])
    assert [each.field for each in refusal.value.violations] == [
        f"users[{row}].age" for row in range(MAX_VIOLATIONS)
    ]
    with pytest.raises(InvalidRequestError):
        refused.check()


def test_what_a_row_is_refused_for_is_bounded() -> None:
    refused = RefusedRows(partial_success=True)
    refused.add(0, [FieldViolation("f" * 1000, "d" * 1000)] * 1000)
    (message,) = refused.messages()
    most = MAX_VIOLATIONS * (MAX_FIELD_BYTES + MAX_DESCRIPTION_BYTES + 10)
    assert len(message.violations) == MAX_VIOLATIONS
    assert message.ByteSize() <= most


@pytest.mark.parametrize(
    ("field", "callers_field", "given", "expected"),
    [
        ("users", "user", "users[2].age", "user.age"),
        ("users", "user", "users[2]", "user"),
        ("queries", "", "queries[2].filter.genres[0]", "filter.genres[0]"),
    ],
)
def test_a_caller_hears_of_a_field_by_its_own_name(
    field: str, callers_field: str, given: str, expected: str
) -> None:
    refused = RefusedRows(partial_success=True)
    refused.add(2, [violation(given)])
    refusal = refusals(refused.messages(), field, callers_field)
    assert list(refusal) == [2]
    assert refusal[2].violations == (FieldViolation(expected, "is bad"),)
