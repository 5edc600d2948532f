"""How many bytes a request adds to the messages of its batch, at most.

A batch travels as one EmbedUsersRequest and one SearchMoviesRequest, and is answered by one
SearchMoviesResponse. None of them may be larger than the hops' limits, whatever the callers ask for
and however long the titles are.
"""

from __future__ import annotations

from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from rpckit.field_limits import limits_of

FRAME_BYTES = 8
"""Most bytes before a field of a message: its tag, and its length if it has one."""
REST_BYTES = 1024
"""Most bytes of a message beside its rows: names, versions and timings."""

_TITLE = limits_of(types_pb2.Movie, "title").bytes.max
_GENRES = limits_of(index_pb2.CreateIndexRequest, "genres")
_NUMBERS = 10 + 5 + 5 + 2 * FRAME_BYTES
"""Id, year and similarity."""

MAX_HIT_BYTES = (
    _NUMBERS + FRAME_BYTES * 3 + _TITLE + _GENRES.items.max * (_GENRES.bytes.max + FRAME_BYTES)
)
"""Largest hit: a movie has each genre of its index at most once. What a row is refused for, the
other answer to it, takes less (`rpckit.errors`)."""


def share_of_messages(user: types_pb2.User, query: search_pb2.MovieQuery, vector_bytes: int) -> int:
    """Return the most bytes that a request adds to any message of its batch.

    Args:
        user: Its row in the EmbedUsersRequest.
        query: Its row in the SearchMoviesRequest.
        vector_bytes: Size of the user's vector, which travels with the query.
    """
    asked: int = user.ByteSize() + query.ByteSize() + vector_bytes
    answered: int = query.top_k * MAX_HIT_BYTES
    return (asked if asked > answered else answered) + FRAME_BYTES
