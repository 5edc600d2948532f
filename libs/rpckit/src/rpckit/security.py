"""Who may connect, and who may call: TLS and bearer tokens, from files that may change at any time.

docs/security.md is the reader's page.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from rpckit.errors import PermissionDeniedError, StartupError, UnauthenticatedError
from rpckit.watched import Watched

log = logging.getLogger(__name__)

PERMISSIONS = frozenset({"read", "index"})
"""`read` is the data plane, `index` the control of indexes."""

MIN_TOKEN_LENGTH = 16
"""Characters; `openssl rand -hex 32` makes 64."""

_HASHED = "sha256:"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one side of a connection."""

    cert: Path | None = None
    """This side's certificate chain."""
    key: Path | None = None
    """The certificate's private key."""
    ca: Path | None = None
    """Authorities that must have signed the other side's certificate."""

    def watch(self, *, interval: float) -> Watched[TlsMaterial]:
        """Load the files, and again whenever they change.

        Raises:
            StartupError: A file cannot be read, is not PEM, or the key is not the certificate's.
        """
        paths = [path for path in (self.cert, self.key, self.ca) if path is not None]
        return Watched(paths, self._load, interval=interval)

    def _load(self) -> TlsMaterial:
        identity = None
        if self.cert is not None and self.key is not None:
            identity = TlsIdentity(cert=_read(self.cert), key=_read(self.key))
        material = TlsMaterial(identity, _read(self.ca) if self.ca else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # C-core would only say so at the first handshake, and then to the other side.
        try:
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ValueError) as error:
            raise StartupError(
                f"{self.cert} and {self.key} are not a PEM certificate and its key: {error}"
            ) from error
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise StartupError(f"{self.ca} holds no PEM certificates: {error}") from error
        return material


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A certificate chain and its private key, in PEM."""

    cert: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What `TlsFiles` held when they were read."""

    identity: TlsIdentity | None
    ca: bytes | None


def server_credentials(files: TlsFiles | None) -> grpc.ServerCredentials | None:
    """Return what a server listens with; None, without TLS, where there are no files.

    With `ca`, clients must have a certificate signed by it (mTLS). The files are looked at before
    each handshake, so that new certificates need no restart; connections keep theirs.

    Raises:
        StartupError: See `TlsFiles.watch`.
    """
    if files is None:
        return None
    watched = files.watch(interval=0)
    known = watched.get()

    # The stubs do not know that None stands for no change.
    def fetch() -> Any:
        nonlocal known
        material = watched.get()
        if material is known:
            return None
        known = material
        return _configuration(material)

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        _configuration(known), fetch, require_client_authentication=files.ca is not None
    )
    return credentials


class TokenFile:
    """The callers that a server knows: one line each, of name, permissions and token.

    ```
    # caller   permissions   token, or sha256: and the token's digest in hex
    gateway    read          7c1d…
    operator   read,index    sha256:9f86…
    ```

    A caller may have several lines, so that a token can be replaced without a gap. The file is
    read anew when it changes.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            StartupError: It cannot be read, or a line of it is no good; the message names the
                line, never a token.
        """
        self._grants = Watched([path], lambda: _read_grants(path))

    def authorize(self, metadata: Mapping[str, str | bytes], permission: str) -> str:
        """Return the name of the caller whose token a call carries.

        Args:
            metadata: The call's metadata, keys in lower case.
            permission: What the caller's line must grant.

        Raises:
            UnauthenticatedError: There is no bearer token, or an unknown one.
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
        for grant in self._grants.get():  # all of them: the time must not tell which one fits
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        return found


@dataclass(frozen=True, slots=True)
class _Grant:
    caller: str
    permissions: frozenset[str]
    digest: bytes


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    identity = material.identity
    if identity is None:
        raise StartupError("a server with TLS needs a certificate and its key")
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.cert)], root_certificates=material.ca
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read {path}: {error.strerror}") from error


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
    if not grants:
        raise StartupError(f"{path} names no caller")
    return list(grants.values())


def _parse_grant(line: str) -> _Grant:
    columns = line.split()
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} columns instead of caller, permissions and token")
    caller, granted, token = columns
    permissions = frozenset(granted.split(","))
    if unknown := permissions - PERMISSIONS:
        known = " and ".join(sorted(PERMISSIONS))
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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
