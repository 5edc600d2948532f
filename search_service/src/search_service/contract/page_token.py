"""Page tokens of ListMovies: the index, and the movie id after which the page starts."""

from __future__ import annotations

from rpckit.page_token import PageTokenCodec, digest, refusal
from search_service.index.vector_index import IndexSpec

_codec = PageTokenCodec("8sq", purpose=b"movie page")  # digest of the index, last movie id


def encode(index: IndexSpec, after: int) -> str:
    """Return the token of the page that starts after a movie id."""
    return _codec.encode(_index_digest(index), after)


def decode(index: IndexSpec, token: str) -> int:
    """Return the movie id after which the page starts; 0 for the empty token, the first page.

    Raises:
        InvalidRequestError: This is not a token of the index.
    """
    if not token:
        return 0
    index_digest, after = _codec.decode(token)
    if index_digest != _index_digest(index):
        raise refusal(f"is not of index {index.name!r}")
    return int(after)


def _index_digest(index: IndexSpec) -> bytes:
    return digest(f"{index.name}\0{index.model_version}".encode())
