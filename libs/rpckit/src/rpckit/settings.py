"""What can be set about a gRPC process: one class per service, one docstring and default per field.

A service derives from `ServerSettings`, names its prefix, and adds fields of its own:

    class EmbedderSettings(ServerSettings):
        model_config = SettingsConfigDict(env_prefix="MARQUEE_EMBEDDER_")

        port: Port = 50051
        '''Port of the gRPC server; 0 takes any free one.'''

`rpckit.configuration` reads them from flags and environment, prints and describes them.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rpckit.configuration import load
from rpckit.security import TlsFiles

__all__ = ["ClientSettings", "Port", "Seconds", "ServerSettings", "is_loopback", "load"]

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_MIB = 1 << 20


class ClientSettings(BaseModel):
    """How a service behind this one is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    target: str
    """gRPC target: `host:port`, `dns:///host:port`, or `ipv4:a:port,b:port` for replicas."""
    tls_ca: Path | None = None
    """PEM file of the authorities that may sign the server's certificate; none means no TLS."""
    tls_cert: Path | None = None
    """PEM file of this client's certificate, for servers that ask for one (mTLS)."""
    tls_key: Path | None = None
    """PEM file of the private key of the client certificate."""
    tls_server_name: str | None = None
    """Name expected in the server's certificate when it is not the target's host."""
    token_file: Path | None = None
    """File that holds the bearer token sent with every call."""
    timeout_s: _Positive = 5.0
    """Longest that one call may take, in seconds; a caller's shorter deadline wins."""
    keepalive_time_s: _Positive = 30.0
    """Seconds of silence before the connection is probed; no less than the server's
    keepalive_min_interval_s."""
    keepalive_timeout_s: _Positive = 10.0
    """Seconds that a probe may stay unanswered before the connection is given up."""
    max_message_bytes: ByteSize = ByteSize(8 * _MIB)
    """Largest message sent or received, as in `8MiB`."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_ca is None and (self.tls_cert or self.tls_server_name):
            raise ValueError("tls_cert and tls_server_name need tls_ca")
        if self.token_file and self.tls_ca is None and not _targets_loopback(self.target):
            raise ValueError(
                "token_file needs tls_ca: a token is not sent in the clear off loopback"
            )
        return self

    def tls_files(self) -> TlsFiles | None:
        """Return what to connect with; None, without TLS, where no authority is named."""
        if self.tls_ca is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, ca=self.tls_ca)


class ServerSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        env_parse_none_str="none",
        # A nested ClientSettings named `search` reads its tls_ca from PREFIX_SEARCH_TLS_CA,
        # and what is not set keeps the service's own default.
        env_nested_delimiter="_",
        env_nested_max_split=1,
        nested_model_default_partial_update=True,
    )

    server: Literal["grpcio", "envoy"] = "grpcio"
    """What listens: grpc.aio, or Envoy with the service inside, which needs rpckit[envoy] and
    answers the same for a fraction of the CPU."""
    host: str = "127.0.0.1"
    """Address that the gRPC server listens on; `0.0.0.0` or `[::]` for all."""
    port: Port = 0
    """Port of the gRPC server; 0 takes any free one."""
    metrics_host: str = "127.0.0.1"
    """Address that the metrics' HTTP server listens on; it has neither TLS nor tokens."""
    metrics_port: Port | None = None
    """Port of the metrics' HTTP server; 0 takes any free one, none switches it off."""

    tls_cert: Path | None = None
    """PEM file of the server's certificate chain; none means no TLS. Read anew when it changes."""
    tls_key: Path | None = None
    """PEM file of the private key of the server's certificate."""
    tls_client_ca: Path | None = None
    """PEM file of the authorities that sign client certificates; clients must then have one."""
    token_file: Path | None = None
    """File of the bearer tokens that may call and what each may do; none lets everybody."""
    insecure: bool = False
    """Listen without TLS on an address that other machines can reach."""
    reflection: bool = True
    """Serve grpc.reflection, so that grpcurl needs no .proto files."""

    max_concurrent_rpcs: int = Field(64, ge=1)
    """Calls under way at once; more are refused with RESOURCE_EXHAUSTED. What is admitted has to
    be answered in time: more than it takes to keep the service busy only makes callers wait."""
    max_receive_message_bytes: ByteSize = Field(ByteSize(8 * _MIB), ge=1)
    """Largest request, as in `8MiB`."""
    max_send_message_bytes: ByteSize = Field(ByteSize(8 * _MIB), ge=1)
    """Largest response, as in `8MiB`."""
    default_deadline_s: _Positive = 5.0
    """Budget in seconds of a call whose client sets none."""
    deadline_margin_ms: float = Field(20.0, ge=0, allow_inf_nan=False)
    """Milliseconds kept back from the budget passed on, so that a failure behind still reaches
    the caller as what it is."""

    shutdown_delay_s: Seconds = 3.0
    """Seconds between turning not ready and refusing new calls, for balancers to notice."""
    shutdown_grace_s: Seconds = 20.0
    """Seconds that calls under way then have to finish."""
    max_connection_age_s: _Positive = 300.0
    """Seconds after which clients are asked to reconnect (gRPC adds jitter of 10 %), so that
    new replicas get their share."""
    max_connection_age_grace_s: _Positive = 3600.0
    """Seconds that calls on an aged connection have to finish: as many as the longest may take,
    the activation of a large index. Every call has a deadline of its own."""
    keepalive_time_s: _Positive = 60.0
    """Seconds of silence before a client's connection is probed."""
    keepalive_timeout_s: _Positive = 10.0
    """Seconds that a probe may stay unanswered before the connection is closed."""
    keepalive_min_interval_s: Seconds = 10.0
    """Clients that probe more often than this, in seconds, are cut off."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe record that is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""
    access_log: Literal["all", "errors", "off"] = "errors"
    """Which calls get a record; `all` costs CPU on every call, the metrics count them anyway."""
    otlp_endpoint: str | None = None
    """Collector that traces are sent to, as in `http://localhost:4317`; needs rpckit[otel]."""
    trace_sample_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the traces begun here that are recorded; a caller's choice stands."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_client_ca and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if self.metrics_port and self.metrics_port == self.port:
            raise ValueError("metrics_port and port must differ")
        if self.tls_cert is None and not is_loopback(self.host):
            if self.token_file:
                raise ValueError(
                    "token_file needs tls_cert: tokens are not taken in the clear off loopback"
                )
            if not self.insecure:
                raise ValueError(
                    f"host {self.host} can be reached from other machines: "
                    "give tls_cert and tls_key, or insecure"
                )
        return self

    def tls_files(self) -> TlsFiles | None:
        """Return what to listen with; None, without TLS, where there is no certificate."""
        if self.tls_cert is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, ca=self.tls_client_ca)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address, given as a name or a literal."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _targets_loopback(target: str) -> bool:
    if target.startswith("unix:"):
        return True
    addresses = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    return all(is_loopback(address.rpartition(":")[0]) for address in addresses.split(","))
