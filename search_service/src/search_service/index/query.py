"""What a search of a VectorIndex is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on the movies to find; a movie must meet all that are set."""

    genres: tuple[str, ...] = ()
    """A movie must have at least one of these genres, given in the request's order. Empty: any."""
    min_year: int | None = None
    """First year; a movie of unknown year meets no bound."""
    max_year: int | None = None
    """Last year; a movie of unknown year meets no bound."""
    movie_ids: frozenset[int] | None = None
    """A movie must have one of these ids. None: any."""


EVERYTHING = Filter()


NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to find for one vector."""

    top_k: int
    """Number of hits to return; fewer only if fewer movies match."""
    filter: Filter = EVERYTHING
    excluded: NDArray[np.int64] = field(default_factory=lambda: NO_IDS)
    """Ids of movies to leave out, ascending; ids that the index does not have are ignored."""

    def excluding(self, movie_ids: NDArray[np.int64]) -> Query:
        """Return this query without these movies too, given ascending."""
        if not movie_ids.size:
            return self
        excluded = np.union1d(self.excluded, movie_ids) if self.excluded.size else movie_ids
        return replace(self, excluded=excluded)
