"""TLS from PEM files that may change at any time.

docs/security.md is the reader's page.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from rpckit.errors import StartupError
from rpckit.security.watched_files import Watched


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
