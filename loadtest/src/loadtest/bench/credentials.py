"""Certificate for loopback and token of a secured suite, created for one run."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from rpckit.settings.client import ClientSettings
from suite.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credential files of servers and clients."""

    ca: Path
    """The authority's certificate."""
    cert: Path
    """The servers' certificate."""
    key: Path
    """Its private key."""
    token: Path
    """The token alone, for clients."""
    grants: Path
    """The token with its permissions, for servers."""

    @property
    def server_flags(self) -> Sequence[str]:
        """Flags of a server."""
        return [f"--tls-cert={self.cert}", f"--tls-key={self.key}", f"--token-file={self.grants}"]

    def client_flags(self, prefix: str) -> Sequence[str]:
        """Return flags of a server's client, as in `--embedder-tls-ca`."""
        return [f"--{prefix}-tls-ca={self.ca}", f"--{prefix}-token-file={self.token}"]

    def endpoint(self, target: str) -> ClientSettings:
        """Return the client settings for a server."""
        return ClientSettings(target=target, tls_ca=self.ca, token_file=self.token)


def create(folder: Path) -> Credentials:
    """Create the files in a folder, which may exist."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Credentials(
        *(folder / name for name in ("ca.pem", "cert.pem", "key.pem", "token", "grants"))
    )
    authority = trustme.CA()
    server = authority.issue_cert(LOOPBACK, "localhost")
    authority.cert_pem.write_to_path(made.ca)
    server.cert_chain_pems[0].write_to_path(made.cert)
    token = secrets.token_hex(32)
    for path, content in (
        (made.key, server.private_key_pem.bytes()),
        (made.token, token.encode()),
        (made.grants, f"bench read,index {token}\n".encode()),
    ):
        path.touch(mode=0o600)
        path.chmod(0o600)  # in case the file existed
        path.write_bytes(content)
    return made
