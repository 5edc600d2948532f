"""Header blocks for a connection without dynamic tables."""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder, Encoder

_STATUSES = {str(code).encode(): code for code in range(17)}
_UNKNOWN = 2


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode header fields into a block that can be sent repeatedly.

    Args:
        fields: Names, in lower case, and values; pseudo-header fields first.
    """
    never_indexed = [(name, value, True) for name, value in fields]
    # Without Huffman codes, as gRPC's own clients send them: the server has less work.
    return Encoder().encode(never_indexed, huffman=False)


def grpc_status(block: bytes) -> int | None:
    """Return the status code of a header block, or None without `grpc-status`.

    Args:
        block: A complete header block of a peer without a dynamic table.

    Raises:
        HPACKError: The block cannot be read.
    """
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    for name, value in decoder.decode(block, raw=True):
        if name == b"grpc-status":
            return _STATUSES.get(value, _UNKNOWN)  # like any code without a meaning
    return None
