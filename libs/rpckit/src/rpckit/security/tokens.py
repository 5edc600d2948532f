"""Bearer tokens of callers, from a file that may change at any time; see docs/security.md."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rpckit.errors import (
    NotReadyError,
    PermissionDeniedError,
    StartupError,
    UnauthenticatedError,
)
from rpckit.security.watched_files import FileWatcher

log = logging.getLogger(__name__)

PERMISSIONS = frozenset({"read", "index", "interactions"})
"""`read`: the data plane; `index`: the control plane of indexes; `interactions`: users' data."""

MIN_TOKEN_LENGTH = 16
"""Characters; `openssl rand -hex 32` makes 64."""

_HASHED = "sha256:"


class TokenFile:
    """The callers that a server knows, one per line: name, permissions and token.

    ```
    # caller   permissions   token, or sha256: and the token's digest in hex
    gateway    read          7c1d…
    operator   read,index    sha256:9f86…
    ```

    A caller may have several lines, so that a token can be rotated without downtime. The file is
    reloaded when it changes; an empty one revokes every token. One that cannot be loaded keeps the
    tokens for `RELOAD_GRACE_SECONDS`, and counts as empty from then on.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            StartupError: The file cannot be read or names no caller, or a line is invalid; the
                message names the line, never a token.
        """
        self.file = FileWatcher([path], lambda: _read_grants(path))
        """The file's watcher."""
        if not self.file.get():
            raise StartupError(_names_no_caller(path))
        self._path = path

    def check(self) -> None:
        """Check that the file admits somebody.

        Raises:
            NotReadyError: The file names no caller, or could not be loaded for too long.
        """
        self.file.check()
        if not self.file.get():
            raise NotReadyError(_names_no_caller(self._path))

    def authorize(self, metadata: Mapping[str, str | bytes], permission: str) -> str:
        """Return the name of the caller that the call's token belongs to.

        Args:
            metadata: Metadata of the call, keys in lower case.
            permission: Permission that the caller needs.

        Raises:
            UnauthenticatedError: The bearer token is missing or unknown.
            PermissionDeniedError: The caller lacks the permission.
        """
        header = metadata.get("authorization", "")
        scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("the call carries no bearer token")
        grant = self._find(token)
        if grant is None:
            raise UnauthenticatedError("the bearer token is not known here")
        if permission not in grant.permissions:
            raise PermissionDeniedError(f"{grant.caller} lacks the permission `{permission}`")
        return grant.caller

    def _find(self, token: str) -> _Grant | None:
        digest = _digest(token)
        found = None
        grants = self.file.get()
        if self.file.is_stale():
            return None
        for grant in grants:  # compares all: the time must not tell which one matches
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        return found


@dataclass(frozen=True, slots=True)
class _Grant:
    caller: str
    permissions: frozenset[str]
    digest: bytes


def _read_grants(path: Path) -> list[_Grant]:
    try:
        lines = path.read_text().splitlines()
        mode = path.stat().st_mode
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartupError(f"{path} is not a text file") from error
    if mode & 0o007:
        log.warning("every user of this machine can read the tokens in %s: chmod o= it", path)
    grants: dict[bytes, _Grant] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            grant = _parse_grant(line)
            if grant.digest in grants:
                raise ValueError("the token is another line's already")
        except ValueError as error:
            raise StartupError(f"{path}:{number}: {error}") from None
        grants[grant.digest] = grant
    return list(grants.values())


def _parse_grant(line: str) -> _Grant:
    columns = line.split()
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} columns instead of caller, permissions and token")
    caller, granted, token = columns
    permissions = frozenset(granted.split(","))
    if unknown := permissions - PERMISSIONS:
        known = ", ".join(sorted(PERMISSIONS))
        raise ValueError(f"{caller} has {sorted(unknown)}; known permissions are {known}")
    if token.startswith(_HASHED):
        digest = bytes.fromhex(token.removeprefix(_HASHED))
        if len(digest) != hashlib.sha256().digest_size:
            raise ValueError(f"{caller}'s sha256 digest is not 64 hex digits")
    elif len(token) < MIN_TOKEN_LENGTH:
        raise ValueError(f"{caller}'s token has less than {MIN_TOKEN_LENGTH} characters")
    else:
        digest = _digest(token)
    return _Grant(caller, permissions, digest)


def _names_no_caller(path: Path) -> str:
    return f"{path} names no caller"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
