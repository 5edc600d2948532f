"""Values and their rows in an embedding table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value", int, str)

UNKNOWN = 0
"""Index of a value that is absent or not in the vocabulary."""


class Vocabulary(Generic[Value]):
    """A fixed sequence of values, with indices from 1; index 0 stands for every other value.

    Args:
        values: Distinct values, in the order of their indices.

    Raises:
        ValueError: A value occurs twice.
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
        """Return the number of rows of an embedding table: the values and the unknown entry."""
        return len(self.values) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.values)} values)"

    def index(self, value: Value | None) -> int:
        """Return the index of a value; `UNKNOWN` for None and values not in the vocabulary."""
        return UNKNOWN if value is None else self._indices.get(value, UNKNOWN)

    def indices(self, values: Iterable[Value]) -> list[int]:
        """Return the index of each value, `UNKNOWN` for those not in the vocabulary."""
        index = self._indices.get
        return [index(value, UNKNOWN) for value in values]
