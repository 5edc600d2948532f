"""Validation of requests about interactions, and their conversion to values.

Every function raises InvalidRequestError with the violations that it found. Their texts repeat no
valid value: they must say nothing about a user.
"""

from __future__ import annotations

import time

from marquee.interactions.v1 import interactions_pb2 as pb
from rpckit.errors import MAX_VIOLATIONS, FieldViolation, InvalidRequestError
from rpckit.field_limits import limits_of
from search_service.index.interactions import Interaction, InteractionKey, InteractionKind

INTERACTIONS = limits_of(pb.RecordInteractionsRequest, "interactions")
USER_ID = limits_of(pb.Interaction, "user_id")
MOVIE_ID = limits_of(pb.Interaction, "movie_id")
RATING = limits_of(pb.Interaction, "rating")
RECOMMENDATION_ID = limits_of(pb.Interaction, "recommendation_id")
PAGE_SIZE = limits_of(pb.GetUserDataRequest, "page_size")

MAX_AHEAD_SECONDS = 60
"""How far the time of an interaction may lie in this machine's future: clocks differ."""

_NANOSECONDS = 10**9
_KINDS: dict[int, InteractionKind] = {kind.value: kind for kind in InteractionKind}


def interactions(request: pb.RecordInteractionsRequest) -> list[Interaction]:
    """Check a RecordInteractionsRequest."""
    INTERACTIONS.items.check("interactions", len(request.interactions))
    latest = time.time_ns() + MAX_AHEAD_SECONDS * _NANOSECONDS
    found: list[FieldViolation] = []
    valid = []
    for number, message in enumerate(request.interactions):
        violations = _violations(message, latest)
        if violations:
            found += [
                FieldViolation(f"interactions[{number}].{field}", description)
                for field, description in violations
            ]
            if len(found) > MAX_VIOLATIONS:  # enough to refuse the request
                break
        elif not found:
            valid.append(_interaction(message))
    if found:
        raise InvalidRequestError(found)
    return valid


def user_id(request: pb.GetUserDataRequest | pb.DeleteUserDataRequest) -> int:
    """Check the user_id of a request."""
    USER_ID.value.check("user_id", request.user_id)
    return request.user_id


def page_size(request: pb.GetUserDataRequest) -> int:
    """Check the page_size of a GetUserDataRequest."""
    size = request.page_size if request.HasField("page_size") else PAGE_SIZE.default
    PAGE_SIZE.value.check("page_size", size)
    return size


def _violations(message: pb.Interaction, latest: int) -> list[tuple[str, str]]:
    """Return the invalid fields of an interaction, and why they are."""
    found = []
    if message.user_id not in USER_ID.value:
        found.append(("user_id", f"must be {USER_ID.value}"))
    if message.movie_id not in MOVIE_ID.value:
        found.append(("movie_id", f"must be {MOVIE_ID.value}"))
    if message.kind not in _KINDS:
        found.append(("kind", "must be seen, liked, disliked or rated"))
    if message.HasField("rating") != (message.kind == pb.INTERACTION_KIND_RATED):
        found.append(("rating", "must be set if the kind is rated, and only then"))
    elif message.HasField("rating") and not RATING.value.min <= message.rating <= RATING.value.max:
        found.append(("rating", f"must be {RATING.value}"))
    if not message.HasField("time"):
        found.append(("time", "must be set"))
    elif (nanoseconds := _nanoseconds(message)) is None:
        found.append(("time", "must be a valid time in 1970 or later"))
    elif nanoseconds > latest:
        found.append(("time", f"must not be more than {MAX_AHEAD_SECONDS} s in the future"))
    if len(message.recommendation_id.encode()) not in RECOMMENDATION_ID.bytes:
        found.append(("recommendation_id", f"must have {RECOMMENDATION_ID.bytes} bytes"))
    return found


def _nanoseconds(message: pb.Interaction) -> int | None:
    """Return the time in nanoseconds since 1970. None: it is not valid, or before."""
    timestamp = message.time
    if timestamp.seconds < 0 or not 0 <= timestamp.nanos < _NANOSECONDS:
        return None
    return timestamp.seconds * _NANOSECONDS + timestamp.nanos


def _interaction(message: pb.Interaction) -> Interaction:
    kind = _KINDS[message.kind]
    return Interaction(
        message.user_id,
        InteractionKey(_nanoseconds(message) or 0, message.movie_id, kind),
        message.rating if kind is InteractionKind.RATED else None,
        message.recommendation_id,
    )
