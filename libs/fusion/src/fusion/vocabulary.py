"""Values and their row in an embedding table, both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value", int, str)

UNKNOWN = 0
"""Index of what is absent or was never seen; no value has it."""


class Vocabulary(Generic[Value]):
    """A fixed set of values, each with an index of its own from 1 on; 0 is everything else.

    Args:
        values: In index order, without repetition.

    Raises:
        ValueError: A value is there twice.
    """

    __slots__ = ("_indices", "values")

    def __init__(self, values: Iterable[Value]) -> None:
        self.values: tuple[Value, ...] = tuple(values)
        self._indices: dict[Value, int] = {
            value: index for index, value in enumerate(self.values, start=1)
        }
        if len(self._indices) != len(self.values):
            raise ValueError("a value occurs twice in a vocabulary")

    def __len__(self) -> int:
        """Entries, the unknown one included: the rows of an embedding table."""
        return len(self.values) + 1

    def __contains__(self, value: Value) -> bool:
        return value in self._indices

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} entries, {self.content_hash})"

    def index(self, value: Value | None) -> int:
        """The value's index; `UNKNOWN` for None and for values outside the vocabulary."""
        return UNKNOWN if value is None else self._indices.get(value, UNKNOWN)

    def value(self, index: int) -> Value | None:
        """The value at an index; None at `UNKNOWN`.

        Raises:
            IndexError: There is no such index.
        """
        if index < 0:
            raise IndexError(index)
        return None if index == UNKNOWN else self.values[index - 1]

    @property
    def content_hash(self) -> str:
        """12 hexadecimal digits that are equal where the values and their order are."""
        text = json.dumps(self.values, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
