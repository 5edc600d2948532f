"""Envoy's configuration, from the settings of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyvoy import PyvoyServer

from rpckit.addresses import socket_path
from rpckit.serving.admission import streams_per_connection
from rpckit.settings.server import ServerSettings
from rpckit_envoy.certificates import write_secrets

APPLICATION = "rpckit_envoy.application:app"
ADMIN_SOCKET = "admin.sock"

ARGUMENTS = (
    "--concurrency",
    "1",  # the event loop of the application is one thread, and the bottleneck
    "--disable-hot-restart",  # needs named shared memory
    "--log-level",
    "error",
)
"""Envoy's command line, except for the configuration."""

# Flow control: clients of a connection may send this much ahead of the application.
_CONNECTION_WINDOW_BYTES = 8 << 20
_ANSWER_OVERHEAD_BYTES = 64 << 10
_UNREAD_SECONDS = 5.0  # in which a client reads nothing of an answer
_MAX_METADATA_KIB = 16  # gRPC's own limit


class EnvoyServer(PyvoyServer):  # type: ignore[misc]  # it ships types that mypy is told to skip
    """pyvoy's configuration of Envoy, changed to that of a gRPC server."""

    def __init__(self, settings: ServerSettings, address: str, run_dir: Path) -> None:
        """Take the settings; `get_envoy_config` makes the configuration.

        Args:
            settings: Settings of the server.
            address: IP address or path to listen on; Envoy does not resolve names.
            run_dir: Directory of the administration socket and of the secrets.
        """
        super().__init__(
            APPLICATION,
            address=address,
            port=settings.port,
            lifespan=True,
            tls_enable_http3=False,
        )
        self._settings = settings
        self._run_dir = run_dir

    def get_envoy_config(self) -> dict[str, Any]:
        """Return the configuration, and write the files that it refers to."""
        settings = self._settings
        config: dict[str, Any] = super().get_envoy_config()
        admin_socket = {"path": str(self._run_dir / ADMIN_SOCKET), "mode": 0o600}
        config["admin"] = {"address": {"pipe": admin_socket}}
        config["node"] = {"id": APPLICATION, "cluster": APPLICATION}  # required by secret discovery
        [listener] = config["static_resources"]["listeners"]
        # Two processes on one port is a mistake, not a way to scale.
        listener["enable_reuse_port"] = False
        listener["per_connection_buffer_high_watermark_timeout"] = _seconds(_UNREAD_SECONDS)
        if path := socket_path(settings.host):
            mode = int(settings.socket_mode, 8)
            listener["address"] = {"pipe": {"path": str(path), "mode": mode}}
        else:
            listener["address"]["socket_address"]["ipv4_compat"] = self._address == "::"
        [chain] = listener["filter_chains"]
        files = settings.tls_files()
        if files is not None:
            chain["transport_socket"] = write_secrets(files, self._run_dir)
        [connection_manager] = chain["filters"]
        connection_manager["typed_config"].update(_http_options(settings))
        return config


def _http_options(settings: ServerSettings) -> dict[str, Any]:
    """Return the options of HTTP; those that grpc.aio also has get the same values."""
    return {
        "stat_prefix": "rpc",
        "codec_type": "HTTP2",
        "server_header_transformation": "PASS_THROUGH",
        "max_request_headers_kb": _MAX_METADATA_KIB,
        "request_headers_timeout": _seconds(settings.default_deadline_s),
        "stream_idle_timeout": "0s",  # a health Watch may be silent for days
        # An answer that is not read is dropped; it costs memory, but no place among the calls.
        "stream_flush_timeout": _seconds(_UNREAD_SECONDS),
        # Time from the first GOAWAY, which clients obey, to the one that closes the connection.
        "drain_timeout": "1s",
        "common_http_protocol_options": {
            "max_connection_duration": _seconds(settings.max_connection_age_s),
            "max_connection_duration_jitter": {"value": 10},
        },
        "http2_protocol_options": {
            "max_concurrent_streams": streams_per_connection(settings.max_concurrent_rpcs),
            # Also the buffer of a stream: Envoy drops an unread answer that is in it as a whole.
            "initial_stream_window_size": settings.max_send_message_bytes + _ANSWER_OVERHEAD_BYTES,
            "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
            "connection_keepalive": {
                "interval": _seconds(settings.keepalive_time_s),
                "timeout": _seconds(settings.keepalive_timeout_s),
            },
        },
    }


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
