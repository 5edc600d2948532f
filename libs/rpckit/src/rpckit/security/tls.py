"""TLS from PEM files that may change at any time; docs/security.md is the guide."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from rpckit.errors import StartupError
from rpckit.security.watched_files import FileWatcher


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the PEM files of one side of a connection."""

    cert: Path | None = None
    """This side's certificate chain."""
    key: Path | None = None
    """The certificate's private key."""
    ca: Path | None = None
    """Certificate authorities (CAs) that the other side's certificate must chain to."""

    def watch(self, *, interval: float) -> FileWatcher[TlsMaterial]:
        """Load the files, and reload them when they change.

        Raises:
            StartupError: A file cannot be read or is not PEM, or key and certificate do not match.
        """
        paths = [path for path in (self.cert, self.key, self.ca) if path is not None]
        return FileWatcher(paths, self._load, interval=interval)

    def _load(self) -> TlsMaterial:
        identity = None
        if self.cert is not None and self.key is not None:
            identity = TlsIdentity(cert=_read(self.cert), key=_read(self.key))
        material = TlsMaterial(identity, _read(self.ca) if self.ca else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # gRPC reports a bad file only at the first handshake, and only to the other side.
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
    """Content of `TlsFiles` at the time of the last load."""

    identity: TlsIdentity | None
    ca: bytes | None


def server_credentials(files: TlsFiles | None) -> grpc.ServerCredentials | None:
    """Return the credentials of a server, or None if it has no TLS files.

    With `ca`, clients must present a certificate that chains to it (mTLS). The files are checked
    before each handshake, so new certificates need no restart. Open connections keep the old ones.

    Raises:
        StartupError: See `TlsFiles.watch`.
    """
    if files is None:
        return None
    watcher = files.watch(interval=0)
    current = watcher.get()

    # gRPC takes None for "no change", which its type stubs do not say.
    def fetch() -> Any:
        nonlocal current
        material = watcher.get()
        if material is current:
            return None
        current = material
        return _configuration(material)

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        _configuration(current), fetch, require_client_authentication=files.ca is not None
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
