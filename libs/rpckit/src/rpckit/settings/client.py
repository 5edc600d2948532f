"""Settings of a gRPC client: how to reach an upstream service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, model_validator

from rpckit.addresses import parse_target, targets_loopback
from rpckit.security.tls import TlsFiles
from rpckit.settings.types import MIB, PositiveSeconds


class ClientSettings(BaseModel):
    """How to reach an upstream service."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target: Annotated[str, AfterValidator(parse_target)]
    """gRPC target: `host:port`, `[::1]:port`, `unix:/path`, `dns:///host:port`, or
    `ipv4:a:port,b:port` for replicas."""
    tls_ca: Path | None = None
    """PEM file of the CAs of the server's certificate; none means no TLS."""
    tls_cert: Path | None = None
    """PEM file of this client's certificate, for servers with mTLS."""
    tls_key: Path | None = None
    """PEM file of the private key of the client certificate."""
    tls_server_name: str | None = None
    """Name expected in the server's certificate, if it is not the target's host."""
    token_file: Path | None = None
    """File with the bearer token that is sent with every call."""
    timeout_s: PositiveSeconds = 5.0
    """Seconds for an answer; then a call that may be repeated goes to another replica, once. A
    shorter deadline of the caller wins."""
    keepalive_time_s: PositiveSeconds = 1.0
    """Seconds without activity before the connection is pinged; at least the server's
    keepalive_min_interval_s."""
    keepalive_timeout_s: PositiveSeconds = 0.75
    """Seconds without an answer to a ping before the connection is closed, and its calls go to
    another replica."""
    max_message_bytes: ByteSize = ByteSize(8 * MIB)
    """Largest message to send or receive, as in `8MiB`."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_ca is None and (self.tls_cert or self.tls_server_name):
            raise ValueError("tls_cert and tls_server_name need tls_ca")
        if self.token_file and self.tls_ca is None and not targets_loopback(self.target):
            raise ValueError(
                "token_file needs tls_ca: a token is not sent in the clear off loopback"
            )
        return self

    def tls_files(self) -> TlsFiles | None:
        """Return the TLS files of the client, or None if it has no CA and so no TLS."""
        if self.tls_ca is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, ca=self.tls_ca)
