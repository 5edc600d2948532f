"""Partial success: rows of a request that are refused while the other rows are answered.

Rows of different callers travel together in one request. If its field `return_partial_success` is
set, the server lists the bad rows in its response and answers the others, so that no batch has to
be sent again because of one caller. https://google.aip.dev/217 has the name of the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from marquee.type.v1 import types_pb2
from rpckit.errors import MAX_VIOLATIONS, FieldViolation, InvalidRequestError


class RefusedRows:
    """The bad rows of one request, as a server finds them. Without partial success, one fails it.

    To find them takes two steps: `add` while the rows are checked, and `check` after the last one.
    """

    def __init__(self, *, partial_success: bool) -> None:
        """Begin without bad rows.

        Args:
            partial_success: `return_partial_success` of the request.
        """
        self._partial_success = partial_success
        self._violations: dict[int, Sequence[FieldViolation]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return the number of bad rows."""
        return len(self._violations)

    def add(self, row: int, violations: Sequence[FieldViolation]) -> None:
        """Refuse a row. Violations are bounded as those of an InvalidRequestError are.

        Raises:
            InvalidRequestError: No partial success is asked for, and there is enough to say.
        """
        self._violations[row] = violations
        self._count += len(violations)
        if self._count > MAX_VIOLATIONS:
            self.check()

    def check(self) -> None:
        """See that the other rows may be answered.

        Raises:
            InvalidRequestError: No partial success is asked for, and a row is bad.
        """
        if self._violations and not self._partial_success:
            raise InvalidRequestError(list(chain.from_iterable(self._violations.values())))

    def messages(self) -> Iterator[types_pb2.RefusedRow]:
        """Yield the rows as the response lists them, ascending."""
        for row, violations in sorted(self._violations.items()):
            message = types_pb2.RefusedRow(row=row)
            for violation in InvalidRequestError(violations).violations:
                message.violations.add(field=violation.field, description=violation.description)
            yield message


def refusals(
    refused: Iterable[types_pb2.RefusedRow], field: str, callers_field: str = ""
) -> dict[int, InvalidRequestError]:
    """Return the refusal of each row for the caller that it came from, by row.

    Args:
        refused: The refused rows of a response.
        field: Field of the request that has the rows, such as `users`.
        callers_field: The same in a request of that caller, such as `user`: then `users[2].age`
            becomes `user.age`. Empty: `queries[2].filter` becomes `filter`.
    """
    return {each.row: _refusal(each, f"{field}[{each.row}]", callers_field) for each in refused}


def _refusal(refused: types_pb2.RefusedRow, path: str, callers_path: str) -> InvalidRequestError:
    return InvalidRequestError(
        [
            FieldViolation(
                (callers_path + violation.field.removeprefix(path)).removeprefix("."),
                violation.description,
            )
            for violation in refused.violations
        ]
    )
