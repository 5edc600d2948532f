"""Opaque page tokens: where a listing goes on, bound to the index that it is of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from rpckit.errors import InvalidRequestError
from search_service.index.vector_index import IndexSpec

_FORMAT = struct.Struct(">B8sq")  # version, index, last id
_VERSION = 1


def encode(index: IndexSpec, after: int) -> str:
    """Return the token for the page behind a movie id."""
    token = _FORMAT.pack(_VERSION, _digest(index), after)
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode(index: IndexSpec, token: str) -> int:
    """Return the movie id behind which the page begins; 0 for the empty token, the first page.

    Raises:
        InvalidRequestError: It is no token of this index.
    """
    if not token:
        return 0
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, digest, after = _FORMAT.unpack(raw)
    except (binascii.Error, struct.error, ValueError):
        raise InvalidRequestError.of("page_token", "is no page token") from None
    # Comparing what it would have been refuses the spare bits of base64, too.
    if version != _VERSION or digest != _digest(index) or encode(index, after) != token:
        raise InvalidRequestError.of("page_token", f"is not of index {index.name!r}")
    return int(after)


def _digest(index: IndexSpec) -> bytes:
    named = f"{index.name}\0{index.model_version}".encode()
    return hashlib.blake2b(named, digest_size=8, person=b"movie page").digest()
