"""Addresses to listen on and to connect to."""

from __future__ import annotations

import ipaddress
import socket

from rpckit.errors import StartupError


def resolve_free_address(host: str, port: int) -> str:
    """Return the IP address to listen on, after checking that the port is free.

    gRPC and Envoy report a taken port in several lines of their own; this check makes it one.

    Args:
        host: Host name or IP address; IPv6 with or without brackets.
        port: Port number. 0 is always free.

    Raises:
        StartupError: The port is taken, or the address does not belong to this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {host}:{port}: the port is taken, or the address is not a local one"
        ) from error
    return str(address[0])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or IP address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
