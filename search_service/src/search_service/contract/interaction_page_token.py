"""Page tokens of GetUserData: the user, and the interaction after which the page starts."""

from __future__ import annotations

from rpckit.page_token import PageTokenCodec, damaged, digest, refusal
from search_service.index.interactions import Interaction, InteractionKey, InteractionKind

# digest of the user; time, movie id and kind of the last interaction
_codec = PageTokenCodec("8sqqB", purpose=b"user data page")


def encode(last: Interaction) -> str:
    """Return the token of the page that starts after an interaction."""
    key = last.key
    return _codec.encode(_user_digest(last.user_id), key.time, key.movie_id, key.kind)


def decode(user_id: int, token: str) -> InteractionKey | None:
    """Return the key after which the page starts; None for the empty token, the first page.

    Raises:
        InvalidRequestError: This is not a token of the user's data.
    """
    if not token:
        return None
    user_digest, time, movie_id, kind = _codec.decode(token)
    if user_digest != _user_digest(user_id):
        raise refusal("is of another user's data")
    try:
        return InteractionKey(time, movie_id, InteractionKind(kind))
    except ValueError:
        raise damaged() from None


def _user_digest(user_id: int) -> bytes:
    return digest(str(user_id).encode())
