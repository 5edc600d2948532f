"""What the contract says that a field may hold, and the words that refuse anything else.

The numbers stand in the .proto files only, as the option `marquee.type.v1.limits` of a field. A
service reads them when its modules are imported; a request is compared with plain integers.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from marquee.type.v1 import limits_pb2
from rpckit.errors import FieldViolation, InvalidRequestError

NO_MIN, NO_MAX = -(2**63), 2**63 - 1
"""Ends of a range that the contract leaves open: what an int64 holds."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `min` to `max`, both included; `in` tells whether a number is one."""

    min: int
    max: int
    refusal: str = "must be {range}, not {number}"
    """What is said of another number."""

    def __contains__(self, number: float) -> bool:
        return self.min <= number <= self.max

    def __str__(self) -> str:
        if self.max == NO_MAX:
            return f"{self.min} or more"
        return f"at most {self.max}" if self.min == NO_MIN else f"{self.min} to {self.max}"

    def check(self, field: str, number: float) -> None:
        """Refuse a request whose field is not in this range.

        Raises:
            InvalidRequestError: It is not; see `violation`.
        """
        if number not in self:
            raise InvalidRequestError([self.violation(field, number)])

    def violation(self, field: str, number: float, *, alternative: str = "") -> FieldViolation:
        """Return the refusal of a number that is not in this range.

        Args:
            field: Path of the field, as in `queries[3].top_k`.
            number: What it holds, or how long it is.
            alternative: What is allowed beside the range, as in `0 for unknown`.
        """
        allowed = f"{self}, or {alternative}" if alternative else str(self)
        return FieldViolation(field, self.refusal.format(range=allowed, number=number))


@dataclass(frozen=True, slots=True)
class FieldLimits:
    """What one field may hold; a range of which the contract says nothing is open at both ends."""

    value: Range
    """Its number; of each item if the field is repeated."""
    items: Range
    """How many items it may have."""
    bytes: Range
    """Its length in UTF-8; of each item if the field is repeated."""
    default: int
    """What an absent field stands for; 0 if the contract names nothing."""


def limits_of(message: type[Message], field: str) -> FieldLimits:
    """Read the limits of a field from the contract. Slow: call it when a module is imported.

    Raises:
        LookupError: The message has no such field, or the field has no limits.
    """
    options = message.DESCRIPTOR.fields_by_name[field].GetOptions()
    if not options.HasExtension(limits_pb2.limits):
        raise LookupError(f"{message.DESCRIPTOR.full_name}.{field} has no limits")
    said = options.Extensions[limits_pb2.limits]
    return FieldLimits(
        value=Range(
            said.min if said.HasField("min") else NO_MIN,
            said.max if said.HasField("max") else NO_MAX,
        ),
        items=Range(
            said.min_items if said.HasField("min_items") else NO_MIN,
            said.max_items if said.HasField("max_items") else NO_MAX,
            "must have {range}, not {number}",
        ),
        bytes=Range(
            said.min_bytes if said.HasField("min_bytes") else NO_MIN,
            said.max_bytes if said.HasField("max_bytes") else NO_MAX,
            "must have {range} bytes",
        ),
        default=said.default,
    )
