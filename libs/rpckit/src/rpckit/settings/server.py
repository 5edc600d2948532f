"""Settings of every gRPC server; the settings class of a service derives from `ServerSettings`.

A service names its prefix and adds fields of its own:

    class EmbedderSettings(ServerSettings):
        model_config = SettingsConfigDict(env_prefix="MARQUEE_EMBEDDER_")

        port: Port = 50051
        '''Port of the gRPC server; 0 takes any free one.'''

`rpckit.settings.loading` reads them from flags and environment variables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rpckit.addresses import is_loopback, socket_path
from rpckit.security.tls import TlsFiles
from rpckit.settings.types import MIB, Host, Port, PositiveSeconds, Seconds


class ServerSettings(BaseSettings):
    """The settings that all services share."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        env_parse_none_str="none",
        # A nested ClientSettings named `search` reads its tls_ca from PREFIX_SEARCH_TLS_CA.
        # Fields that are not set keep the service's own defaults.
        env_nested_delimiter="_",
        env_nested_max_split=1,
        nested_model_default_partial_update=True,
    )

    server: str = "grpcio"
    """What listens: `grpcio` (grpc.aio), or `envoy` (Envoy with the service inside, by the package
    rpckit_envoy), which answers the same for a fraction of the CPU."""
    host: Host = "127.0.0.1"
    """Address that the gRPC server listens on; `0.0.0.0` for all of IPv4, `::` for all, or
    `unix:/path` for a socket, which needs no port."""
    port: Port = 0
    """Port of the gRPC server; 0 takes any free one."""
    socket_mode: str = Field("660", pattern="^0?[0-7]{3}$")
    """Permissions of the socket if `host` is one, in octal."""
    metrics_host: Host = "127.0.0.1"
    """Address that the metrics' HTTP server listens on; it has neither TLS nor tokens."""
    metrics_port: Port | None = None
    """Port of the metrics' HTTP server; 0 takes any free one, none switches it off."""

    tls_cert: Path | None = None
    """PEM file of the server's certificate chain; none means no TLS. Reloaded on a change."""
    tls_key: Path | None = None
    """PEM file of the private key of the server's certificate."""
    tls_client_ca: Path | None = None
    """PEM file of the CAs of client certificates; with it, clients must have one (mTLS)."""
    token_file: Path | None = None
    """File of the callers' bearer tokens and permissions; none allows every call."""
    insecure: bool = False
    """Listen without TLS on an address that other machines can reach."""
    reflection: bool = True
    """Serve grpc.reflection, so that grpcurl needs no .proto files."""

    max_wait_ms: float = Field(60.0, gt=0, allow_inf_nan=False)
    """Longest in milliseconds that calls may take because of those before them; while they take
    longer, more are refused with RESOURCE_EXHAUSTED. 64 calls of an RPC are always admitted."""
    max_concurrent_rpcs: int = Field(1024, ge=1)
    """Largest number of calls in flight, also in a burst; more are refused at once."""
    max_receive_message_bytes: ByteSize = Field(ByteSize(8 * MIB), ge=1)
    """Largest request, as in `8MiB`."""
    max_unfinished_bytes: ByteSize = Field(ByteSize(64 * MIB), ge=1)
    """Largest sum of the requests that have not arrived completely, as in `64MiB`; more are refused
    with RESOURCE_EXHAUSTED, first those of the caller who has most. At least one request fits."""
    max_send_message_bytes: ByteSize = Field(ByteSize(8 * MIB), ge=1)
    """Largest response, as in `8MiB`."""
    default_deadline_s: PositiveSeconds = 5.0
    """Budget in seconds of a call whose client sets none."""
    deadline_margin_ms: float = Field(20.0, ge=0, allow_inf_nan=False)
    """Milliseconds of a call's budget that are not passed on, so that a failure of the next hop
    reaches the caller before its deadline."""

    shutdown_delay_s: Seconds = 3.0
    """Seconds between reporting not ready and refusing new calls, for load balancers to notice."""
    shutdown_grace_s: Seconds = 20.0
    """Seconds that calls in progress then have to finish."""
    max_connection_age_s: PositiveSeconds = 300.0
    """Seconds after which clients are asked to reconnect (gRPC adds jitter of 10 %), so that
    new replicas get calls."""
    max_connection_age_grace_s: PositiveSeconds = 3600.0
    """Seconds that calls on an aged connection have to finish: as many as the longest call takes,
    the activation of a large index. Every call has its own deadline."""
    keepalive_time_s: PositiveSeconds = 60.0
    """Seconds without activity before a client's connection is pinged."""
    keepalive_timeout_s: PositiveSeconds = 10.0
    """Seconds without an answer to a ping before the connection is closed."""
    keepalive_min_interval_s: Seconds = 0.5
    """Shortest time between pings in seconds; clients that ping more often are disconnected."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""
    access_log: Literal["all", "errors", "off"] = "errors"
    """Which calls are logged; `all` costs CPU on every call, and metrics count all calls anyway."""
    otlp_endpoint: str | None = None
    """Collector that traces are sent to, as in `http://localhost:4317`; needs rpckit[otel]."""
    trace_sample_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the traces started here that are recorded; a caller's decision is kept."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_client_ca and self.tls_cert is None:
            raise ValueError("tls_client_ca needs tls_cert and tls_key")
        if socket_path(self.metrics_host):
            raise ValueError("metrics_host is an IP address or a name, not a socket")
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
        """Return the TLS files of the server, or None if it has no certificate and so no TLS."""
        if self.tls_cert is None:
            return None
        return TlsFiles(cert=self.tls_cert, key=self.tls_key, ca=self.tls_client_ca)
