"""What a secured suite needs: a certificate for loopback and a token, made for one run."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rpckit.settings.client import ClientSettings


@dataclass(frozen=True, slots=True)
class Secured:
    """Files that servers and clients share."""

    cert: Path
    """Certificate, signed by its own key, so that it is the authority as well."""
    key: Path
    token: Path
    """The token alone, as clients want it."""
    grants: Path
    """The token with its permissions, as servers want it."""

    @property
    def server_flags(self) -> Sequence[str]:
        """Flags of a server."""
        return [f"--tls-cert={self.cert}", f"--tls-key={self.key}", f"--token-file={self.grants}"]

    def client_flags(self, prefix: str) -> Sequence[str]:
        """Return flags of a server's client, as in `--embedder-tls-ca`."""
        return [f"--{prefix}-tls-ca={self.cert}", f"--{prefix}-token-file={self.token}"]

    def endpoint(self, target: str) -> ClientSettings:
        """Return how a server is called."""
        return ClientSettings(target=target, tls_ca=self.cert, token_file=self.token)


def make(folder: Path) -> Secured | None:
    """Make the files; None where there is no openssl to make a certificate with."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    made = Secured(*(folder / name for name in ("cert.pem", "key.pem", "token", "grants")))
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", str(made.key), "-out", str(made.cert)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    token = secrets.token_hex(32)
    made.token.write_text(token)
    made.grants.write_text(f"bench read,index {token}\n")
    for secret in (made.key, made.token, made.grants):
        secret.chmod(0o600)
    return made
