"""Page tokens of lists: where a list goes on, bound to the request, the model and the index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from rpckit.field_limits import limits_of
from rpckit.page_token import PageTokenCodec, damaged, digest, refusal

MAX_RESULTS = limits_of(search_pb2.MovieQuery, "top_k").value.max
"""Movies that all pages of one list give together: each page is cut out of one search."""

PagedRequest = TypeVar("PagedRequest", pb.RecommendRequest, pb.SimilarMoviesRequest)

# movies before the page, digest of the request, digest of the model and the index
_codec = PageTokenCodec("H8s8s", purpose=b"marquee.page")


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page begins, and which list its token continues."""

    offset: int
    """Movies on the pages before."""
    source: bytes | None
    """What `source_digest` gave for the pages before. None: this is the first page."""


def excludes_seen(request: pb.RecommendRequest) -> bool:
    """Return whether a list leaves out what the user has seen."""
    if request.HasField("exclude_seen"):
        return request.exclude_seen
    return request.user.HasField("user_id")


def request_digest(request: PagedRequest) -> bytes:
    """Return 8 bytes that are the same for all pages of one list, whatever their size.

    The order of genres and of excluded movies does not count, nor whether a message without fields
    was sent. Repeated values do: the search service limits how many there may be, and a request
    that it refuses must not look like one that it answers.
    """
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_size")
    same.ClearField("page_token")
    same.DiscardUnknownFields()
    same.filter.genres.sort()
    same.exclude_movie_ids.sort()
    if not same.filter.ByteSize():
        same.ClearField("filter")
    if isinstance(same, pb.SimilarMoviesRequest):
        return digest(b"similar" + same.SerializeToString(deterministic=True))
    same.exclude_seen = excludes_seen(same)
    if same.exclude_seen == same.user.HasField("user_id"):
        same.ClearField("exclude_seen")  # as it is for the same list by default
    if not same.user.ByteSize():
        same.ClearField("user")
    return digest(same.SerializeToString(deterministic=True))


@lru_cache(maxsize=16)  # few are alive at a time, and every answer needs one
def source_digest(model_version: str, index: str) -> bytes:
    """Return 8 bytes that stand for the model and the index that a list comes from."""
    return digest(f"{model_version}\n{index}".encode())


def encode(offset: int, request: bytes, source: bytes) -> str:
    """Return the token of the page that begins after `offset` movies.

    Args:
        offset: Movies on the pages so far, 1 to MAX_RESULTS - 1.
        request: What `request_digest` gave.
        source: What `source_digest` gave.
    """
    return _codec.encode(offset, request, source)


def decode(token: str, request: bytes) -> Page:
    """Return the page that a token asks for.

    Args:
        token: Empty: the first page is asked for.
        request: What `request_digest` gave for the request that brings the token.

    Raises:
        InvalidRequestError: The token is damaged or was given for another request.
    """
    if not token:
        return Page(0, None)
    offset, continued, source = _codec.decode(token)
    if not 0 < offset < MAX_RESULTS:
        raise damaged()
    if continued != request:
        raise refusal("belongs to a request with another user, filter, exclusions or movies")
    return Page(offset, source)


def check_source(page: Page, source: bytes) -> None:
    """See that the model and the index that answered are those of the pages before.

    Args:
        page: What `decode` gave.
        source: What `source_digest` gave for the answer.

    Raises:
        InvalidRequestError: They are others.
    """
    if page.source not in (None, source):
        raise refusal("belongs to another model or index; begin again at the first page")
