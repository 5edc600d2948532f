"""The vector of a query that names movies to be near to, in place of a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DISLIKE_WEIGHT = 0.5
"""What a disliked movie counts, against 1 for a liked one."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Movies to be near to, and movies to be far from; none is both."""

    liked: tuple[int, ...]
    disliked: tuple[int, ...] = ()

    @property
    def movie_ids(self) -> tuple[int, ...]:
        """The ids of all of them."""
        return self.liked + self.disliked

    def vector(self, vectors: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32] | None:
        """Return the query's vector, (dimension,). None: no liked movie has one.

        It is the normalised sum of the liked movies' vectors less DISLIKE_WEIGHT × the disliked
        ones'. Where they cancel out it is zero, and all movies are equally near.

        Args:
            vectors: The movies' vectors by id; movies without one are ignored.
        """
        liked = [vectors[i] for i in self.liked if i in vectors]
        if not liked:
            return None
        total: NDArray[np.float32] = np.sum(liked, axis=0)
        disliked = [vectors[i] for i in self.disliked if i in vectors]
        if disliked:
            total -= np.float32(DISLIKE_WEIGHT) * np.sum(disliked, axis=0)
        if length := np.linalg.norm(total):
            total /= length
        return total
