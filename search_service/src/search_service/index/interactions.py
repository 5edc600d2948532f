"""Users' interactions with movies, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class InteractionKind(IntEnum):
    """What a user did with a movie; the numbers are those of the contract."""

    SEEN = 1
    LIKED = 2
    DISLIKED = 3
    RATED = 4


@dataclass(frozen=True, slots=True, order=True)
class InteractionKey:
    """What tells interactions of one user apart, in their order."""

    time: int
    """Nanoseconds since 1970."""
    movie_id: int
    kind: InteractionKind


@dataclass(frozen=True, slots=True)
class Interaction:
    """One interaction of a user with a movie."""

    user_id: int
    key: InteractionKey
    rating: float | None = None
    """Stars. None, unless the kind is RATED."""
    recommendation_id: str = ""
    """Opaque id of the recommendation that led to it. Empty: none."""
