"""Addresses to listen on and to connect to."""

from __future__ import annotations

import ipaddress
import socket

from rpckit.errors import StartupError


def resolve_free(host: str, port: int) -> str:
    """Return the IP address of a host to listen on, once it is sure that the port is free.

    What listens says so in lines of its own, and one is enough.

    Args:
        host: Name or address, IPv6 with or without brackets.
        port: 0 is always free.

    Raises:
        StartupError: The port is taken, or the address is not a local one.
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
    """Tell whether only this machine can reach an address, given as a name or a literal."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
