"""The part of HPACK (RFC 7541) that unary gRPC needs when neither side keeps a dynamic table."""

from __future__ import annotations

from collections.abc import Iterable

_HUFFMAN = {
    "0": "00000",
    "1": "00001",
    "2": "00010",
    "3": "011001",
    "4": "011010",
    "5": "011011",
    "6": "011100",
    "7": "011101",
    "8": "011110",
    "9": "011111",
    "-": "010110",
    "a": "00011",
    "c": "00100",
    "g": "100110",
    "p": "101011",
    "r": "101100",
    "s": "01000",
    "t": "01001",
    "u": "101101",
}
"""Codes of appendix B for the characters of `grpc-status` and of its values."""


class HpackError(Exception):
    """A header block is malformed, or uses the dynamic table that it was told not to."""


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode header fields as literals that leave no trace in the other side's table.

    Args:
        fields: Names, in lower case, and values; pseudo-header fields first.
    """
    block = bytearray()
    for name, value in fields:
        block.append(0)  # literal without indexing, new name
        for text in (name, value):
            data = text.encode()
            block += _integer(len(data), 7) + data
    return bytes(block)


def grpc_status(block: bytes) -> int | None:
    """Return the status code of a header block, or None where it has no `grpc-status`.

    Args:
        block: A whole header block of a peer that keeps no dynamic table.

    Raises:
        HpackError: The block cannot be read.
    """
    at = 0
    try:
        while at < len(block):
            first = block[at]
            if first & 0x80:  # an entry of a table
                index, at = _read_integer(block, at, 7)
                if not 0 < index <= 61:
                    raise HpackError(f"entry {index} of a dynamic table that is not kept")
                continue
            if first & 0xE0 == 0x20:  # a table size
                _, at = _read_integer(block, at, 5)
                continue
            index, at = _read_integer(block, at, 6 if first & 0x40 else 4)
            name = b""
            if not index:
                name, at = _read_string(block, at)
            value, at = _read_string(block, at)
            if name in _STATUS_NAMES:
                return _STATUS_VALUES.get(value, 2)  # UNKNOWN, as for any code that has no meaning
    except IndexError as error:
        raise HpackError("a header block ends too early") from error
    return None


def _read_string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return a string as it is on the wire, its Huffman bit included, and what follows it."""
    coded = block[at] & 0x80
    length, at = _read_integer(block, at, 7)
    if at + length > len(block):
        raise HpackError("a string goes on after the end of its header block")
    text = block[at : at + length]
    return (b"\x80" + text if coded else text), at + length


def _read_integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    limit = (1 << prefix) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _integer(value: int, prefix: int) -> bytes:
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([value])
    out = bytearray([limit])
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _huffman(text: str) -> bytes:
    bits = "".join(_HUFFMAN[character] for character in text)
    bits += "1" * (-len(bits) % 8)
    return b"\x80" + int(bits, 2).to_bytes(len(bits) // 8, "big")


_STATUS_NAMES = {b"grpc-status", _huffman("grpc-status")}
_STATUS_VALUES = {
    form: code for code in range(17) for form in (str(code).encode(), _huffman(str(code)))
}
