"""Schema of the Milvus collection that holds what users did with movies.

There is one row for each interaction. Its primary key is made of user, movie, time and kind, so an
upsert is idempotent, and the order of two writers' upserts does not matter.

Users are divided among `BUCKETS` buckets, each of which has a *mark*: a row with a random revision,
which every write to the bucket replaces. A reader that compares the marks with those it knows finds
the buckets that have changed, deletions included, without a clock and without a list of deleted
users. A mark names no user.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from search_service.index.interactions import Interaction, InteractionKey, InteractionKind

COLLECTION = "_marquee_interactions"
"""Name of the collection; no index can have it: their names start with a letter."""
BUCKETS = 4096
"""Number of buckets: a mark of each is compared at every poll, which costs a Milvus server a few
milliseconds, and a write makes other processes read one bucket."""

KEY = "id"
VECTOR = "vector"
"""Milvus needs a vector in every collection; these are all zero."""
BUCKET = "bucket"
REVISION = "revision"
"""Revision of a mark; 0 in interactions."""
USER = "user_id"
"""User of an interaction; 0 in marks."""
MOVIE = "movie_id"
TIME = "time"
KIND = "kind"
RATING = "rating"
RECOMMENDATION = "recommendation_id"
INTEGER_FIELDS = [BUCKET, REVISION, USER, MOVIE, TIME, KIND]
INTERACTION_FIELDS = [USER, MOVIE, TIME, KIND, RATING, RECOMMENDATION]
"""Fields that `interaction` needs."""

VECTOR_DIMENSION = 2
MAX_KEY_BYTES = 64
MAX_RECOMMENDATION_BYTES = 64
"""Equal to the limit of Interaction.recommendation_id in the contract."""
NO_RATING = -1.0

Row = dict[str, Any]
"""An entity of the collection: values by field name."""


def bucket(user_id: int) -> int:
    """Return the bucket of a user."""
    return user_id % BUCKETS


def row(interaction: Interaction) -> Row:
    """Return the row of an interaction."""
    key = interaction.key
    return {
        KEY: f"{interaction.user_id}/{key.movie_id}/{key.time}/{key.kind:d}",
        VECTOR: [0.0] * VECTOR_DIMENSION,
        BUCKET: bucket(interaction.user_id),
        REVISION: 0,
        USER: interaction.user_id,
        MOVIE: key.movie_id,
        TIME: key.time,
        KIND: int(key.kind),
        RATING: NO_RATING if interaction.rating is None else interaction.rating,
        RECOMMENDATION: interaction.recommendation_id,
    }


def interaction(stored: Mapping[str, Any]) -> Interaction:
    """Return the interaction in a row that has `INTERACTION_FIELDS`."""
    rating = float(stored[RATING])
    return Interaction(
        stored[USER],
        InteractionKey(stored[TIME], stored[MOVIE], InteractionKind(stored[KIND])),
        None if rating == NO_RATING else rating,
        stored[RECOMMENDATION],
    )


def marks(buckets: Iterable[int]) -> Iterator[Row]:
    """Yield new marks of buckets, which replace their present ones."""
    for number in buckets:
        yield {
            KEY: f"bucket/{number}",
            VECTOR: [0.0] * VECTOR_DIMENSION,
            BUCKET: number,
            REVISION: secrets.randbits(62) + 1,  # 0 stands for a bucket without a mark
            USER: 0,
            MOVIE: 0,
            TIME: 0,
            KIND: 0,
            RATING: NO_RATING,
            RECOMMENDATION: "",
        }


ALL_MARKS = f"{USER} == 0"
"""Expression for all marks."""


def in_buckets(buckets: Iterable[int]) -> str:
    """Return the expression for the interactions of these buckets."""
    return f"{USER} > 0 and {BUCKET} in [{', '.join(f'{number:d}' for number in buckets)}]"


def of_users(user_ids: Iterable[int]) -> str:
    """Return the expression for the interactions of these users."""
    return f"{USER} in [{', '.join(f'{user_id:d}' for user_id in user_ids)}]"
