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
            StartupError: A file cannot be read or is not PEM, the key is encrypted, or key and
                certificate do not match.
        """
        paths = [path for path in (self.cert, self.key, self.ca) if path is not None]
        return FileWatcher(paths, self._load, interval=interval)

    def load_identity(self, context: ssl.SSLContext) -> None:
        """Load the certificate and its key, if there are any, into a context.

        Raises:
            StartupError: They are not a PEM certificate and its key, or the key is encrypted.
        """
        if self.cert is None:
            return
        try:
            context.load_cert_chain(self.cert, self.key, self._refuse_encrypted_key)
        except (OSError, ValueError) as error:
            raise StartupError(
                f"{self.cert} and {self.key} are not a PEM certificate and its key: {error}"
            ) from error

    def _load(self) -> TlsMaterial:
        identity = None
        if self.cert is not None and self.key is not None:
            identity = TlsIdentity(cert=_read(self.cert), key=_read(self.key))
        material = TlsMaterial(identity, _read(self.ca) if self.ca else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # gRPC reports a bad file only at the first handshake, and only to the other side.
        self.load_identity(context)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise StartupError(f"{self.ca} holds no PEM certificates: {error}") from error
        return material

    def _refuse_encrypted_key(self) -> str:
        # OpenSSL asks for a password, by default on the terminal, only if the key is encrypted.
        raise StartupError(f"{self.key} is encrypted; decrypt it with `openssl pkey`")


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


def server_credentials(certificates: FileWatcher[TlsMaterial]) -> grpc.ServerCredentials:
    """Return the credentials of a server.

    With `ca`, clients must present a certificate that chains to it (mTLS). The files are checked
    before each handshake, so new certificates need no restart. Open connections keep the old ones.

    Args:
        certificates: TLS files of the server.

    Raises:
        StartupError: There is no certificate, or no key.
    """
    current = certificates.get()

    # gRPC takes None for "no change", which its type stubs do not say.
    def fetch() -> Any:
        nonlocal current
        material = certificates.get()
        if material is current:
            return None
        current = material
        return _configuration(material)

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        _configuration(current), fetch, require_client_authentication=current.ca is not None
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
