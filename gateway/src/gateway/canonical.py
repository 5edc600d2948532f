"""When two requests ask for the same list, though their bytes differ."""

from __future__ import annotations

from marquee.recommender.v1 import recommender_pb2 as pb


def canonical(request: pb.RecommendRequest) -> bytes:
    """Return bytes that stand for what is asked, whatever the page and its size.

    The order of genres and of excluded movies does not count, nor whether a message without fields
    was sent. Repeated values do: how many there may be is for others to judge, and a request that
    they refuse must not pass for one that they answer.
    """
    same = pb.RecommendRequest()
    same.CopyFrom(request)
    same.ClearField("page_size")
    same.ClearField("page_token")
    same.DiscardUnknownFields()
    same.filter.genres.sort()
    same.exclude_movie_ids.sort()
    for message in ("user", "filter"):
        if not getattr(same, message).ByteSize():
            same.ClearField(message)
    return same.SerializeToString(deterministic=True)
