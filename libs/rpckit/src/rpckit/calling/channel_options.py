"""gRPC arguments of a client channel: limits, keepalive, reconnection.

https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
"""

from __future__ import annotations

from rpckit.settings.client import ClientSettings


def channel_options(settings: ClientSettings, config: str) -> list[tuple[str, str | int]]:
    """Return the channel arguments of a client; `grpcio_host` has those of a server."""
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", config),
        ("grpc.enable_http_proxy", 0),  # hops are direct, whatever http_proxy says
        ("grpc.service_config_disable_resolution", 1),  # a config from DNS would override this one
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        # For the pings that measure bandwidth, behind which keepalive's wait; C-core's is a minute.
        ("grpc.http2.ping_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Finds a restarted replica within 0.6 s, jitter included, before the next one restarts.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # in C-core, the timeout of one attempt
        ("grpc.max_reconnect_backoff_ms", 500),
        # Finds a new replica when a server asks its clients to reconnect (max_connection_age).
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]
    if settings.tls_server_name is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls_server_name))
    return options
