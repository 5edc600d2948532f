"""Page tokens: opaque text that says where a list goes on, and what it is a list of.

A token holds no secret and guards none: what matters is that one which is damaged, or made for
another list, is noticed (https://google.aip.dev/158). A service decides what its tokens hold; how
they are written, checked and refused is decided here.
"""

from __future__ import annotations

import base64
import binascii
import struct
from hashlib import blake2b
from typing import Any

from rpckit.errors import InvalidRequestError

_CHECKSUM_BYTES = 4


class PageTokenCodec:
    """Writes values as a token and reads them back: version, values and checksum in base64url."""

    def __init__(self, layout: str, *, purpose: bytes, version: int = 1) -> None:
        """Describe the tokens of one list.

        Args:
            layout: Types of the values, as in `struct`; big-endian, without padding.
            purpose: Enters the checksum, so that no other list's token passes; at most 16 bytes.
            version: Of the layout, 0 to 255; a token of another one is refused.
        """
        self._layout = struct.Struct(f">B{layout}")
        self._purpose = purpose
        self._version = version

    def encode(self, *values: int | bytes) -> str:
        """Return the token of these values."""
        payload = self._layout.pack(self._version, *values)
        token = base64.urlsafe_b64encode(payload + self._checksum(payload))
        return token.decode().rstrip("=")

    def decode(self, token: str) -> tuple[Any, ...]:
        """Return the values of a token.

        Raises:
            InvalidRequestError: It is not, to the last bit, a token that `encode` makes.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            _, *values = self._layout.unpack(raw[:-_CHECKSUM_BYTES])
        except (binascii.Error, struct.error, ValueError):
            raise damaged() from None
        # Compared as text: it has the version and the checksum, and bits that base64 ignores.
        if self.encode(*values) != token:
            raise damaged()
        return tuple(values)

    def _checksum(self, payload: bytes) -> bytes:
        return blake2b(payload, digest_size=_CHECKSUM_BYTES, person=self._purpose).digest()


def digest(content: bytes) -> bytes:
    """Return 8 bytes that stand for what a token is bound to."""
    return blake2b(content, digest_size=8).digest()


def damaged() -> InvalidRequestError:
    """Return the refusal of what is no token."""
    return refusal("is not a token of this service, or damaged")


def refusal(description: str) -> InvalidRequestError:
    """Return the refusal of a request for its token."""
    return InvalidRequestError.of("page_token", description)
