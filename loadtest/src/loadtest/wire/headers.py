"""Header blocks of a connection on which neither side keeps a dynamic table."""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder, Encoder

_STATUSES = {str(code).encode(): code for code in range(17)}
_UNKNOWN = 2


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode header fields so that the block can be sent any number of times.

    Args:
        fields: Names, in lower case, and values; pseudo-header fields first.
    """
    never_indexed = [(name, value, True) for name, value in fields]
    # Without Huffman codes, as gRPC's own clients send them: the server has less to do.
    return Encoder().encode(never_indexed, huffman=False)


def grpc_status(block: bytes) -> int | None:
    """Return the status code of a header block, or None where it has no `grpc-status`.

    Args:
        block: A whole header block of a peer that was told to keep no dynamic table.

    Raises:
        HPACKError: The block cannot be read.
    """
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    for name, value in decoder.decode(block, raw=True):
        if name == b"grpc-status":
            return _STATUSES.get(value, _UNKNOWN)  # as for any code that has no meaning
    return None
