"""Which movies each user has seen, in memory: 8 bytes for each, and about 250 for each user."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_service.store.interaction_schema import BUCKETS, bucket


class _User(NamedTuple):
    movie_ids: NDArray[np.int64]
    """Ascending, each once."""
    interactions: int


_NOTHING = _User(np.empty(0, np.int64), 0)


class SeenMovies:
    """Movies by user, in the buckets of search_service.store.interaction_schema."""

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: list[dict[int, _User]] = [{} for _ in range(BUCKETS)]
        self._interactions = 0

    def __len__(self) -> int:
        """Return the number of interactions."""
        return self._interactions

    def of(self, user_id: int) -> NDArray[np.int64]:
        """Return the ids of the movies that a user has seen, ascending, each once."""
        return self._user(user_id).movie_ids

    def count(self, user_id: int) -> int:
        """Return the number of a user's interactions; one that was added twice counts twice."""
        return self._user(user_id).interactions

    def add(self, user_id: int, movie_ids: Collection[int]) -> None:
        """Add a user's interactions with these movies."""
        known = self._user(user_id)
        merged = np.union1d(known.movie_ids, np.fromiter(movie_ids, np.int64, len(movie_ids)))
        self._set(user_id, _User(merged, known.interactions + len(movie_ids)))

    def remove(self, user_id: int) -> None:
        """Remove all that a user has seen."""
        self._interactions -= self._user(user_id).interactions
        self._buckets[bucket(user_id)].pop(user_id, None)

    def replace(
        self, buckets: Iterable[int], user_ids: NDArray[np.int64], movie_ids: NDArray[np.int64]
    ) -> None:
        """Replace the content of some buckets.

        Args:
            buckets: The buckets.
            user_ids: User of each interaction in them.
            movie_ids: Movie of each interaction.
        """
        for number in buckets:
            self._interactions -= sum(user.interactions for user in self._buckets[number].values())
            self._buckets[number] = {}
        order = np.lexsort((movie_ids, user_ids))
        user_ids, movie_ids = user_ids[order], movie_ids[order]
        users, starts, counts = np.unique(user_ids, return_index=True, return_counts=True)
        first = np.ones(len(user_ids), np.bool_)
        first[1:] = (user_ids[1:] != user_ids[:-1]) | (movie_ids[1:] != movie_ids[:-1])
        for user_id, start, count in zip(
            users.tolist(), starts.tolist(), counts.tolist(), strict=True
        ):
            own = slice(start, start + count)
            # Indexing copies, so that no user keeps the arrays of all in memory.
            self._set(user_id, _User(movie_ids[own][first[own]], count))

    def _user(self, user_id: int) -> _User:
        return self._buckets[bucket(user_id)].get(user_id, _NOTHING)

    def _set(self, user_id: int, user: _User) -> None:
        self._interactions += user.interactions - self._user(user_id).interactions
        self._buckets[bucket(user_id)][user_id] = user
