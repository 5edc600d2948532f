"""Page tokens of Recommend: opaque to callers, bound to the request, the model and the index.

A token holds no secret and guards none: it only has to be noticed when it is damaged or belongs to
another list (https://google.aip.dev/158).
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from rpckit.errors import InvalidRequestError

MAX_RESULTS = 1000
"""Movies that all pages of one list give together."""

_LAYOUT = struct.Struct(">BH8s8s")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page begins, and what its token claims to continue."""

    offset: int
    """Movies on the pages before."""
    list_digest: bytes | None
    """Digest of the model and the index that gave the pages before. None: this is the first."""


def request_digest(asked: bytes) -> bytes:
    """Return 8 bytes that stand for what is asked: what `canonical` gave."""
    return blake2b(asked, digest_size=8).digest()


@lru_cache(maxsize=16)  # few are alive at a time, and every answer asks
def list_digest(model_version: str, index: str) -> bytes:
    """Return 8 bytes that stand for the model and the index which ranked the list."""
    return blake2b(f"{model_version}\n{index}".encode(), digest_size=8).digest()


def encode(offset: int, request: bytes, answered_by: bytes) -> str:
    """Make the token of the page that begins after `offset` movies.

    Args:
        offset: Movies on the pages so far, 1 to MAX_RESULTS.
        request: What `request_digest` gave.
        answered_by: What `list_digest` gave.
    """
    claim = _LAYOUT.pack(_FORMAT, offset, request, answered_by)
    return base64.urlsafe_b64encode(claim + _check(claim)).decode().rstrip("=")


def decode(token: str, request: bytes) -> Page:
    """Read the token of a request.

    Args:
        token: Empty: the first page is asked for.
        request: What `canonical` gave.

    Raises:
        InvalidRequestError: The token is damaged or was given for another request.
    """
    if not token:
        return Page(0, None)
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    claim, check = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
    if len(claim) != _LAYOUT.size or check != _check(claim):
        raise InvalidRequestError.of("page_token", "is not a token of this service, or damaged")
    form, offset, asked, answered_by = _LAYOUT.unpack(claim)
    if form != _FORMAT or not 0 < offset < MAX_RESULTS:
        raise InvalidRequestError.of("page_token", "is not a token of this service, or damaged")
    if asked != request_digest(request):
        raise InvalidRequestError.of(
            "page_token", "belongs to a request with another user, filter or exclusions"
        )
    return Page(offset, answered_by)


def _check(claim: bytes) -> bytes:
    return blake2b(claim, digest_size=4, person=b"marquee.page").digest()
