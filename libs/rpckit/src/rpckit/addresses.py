"""Addresses to listen on and to connect to, in every spelling that people use for them."""

from __future__ import annotations

import ipaddress
import re
import socket

from rpckit.errors import StartupError

_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Schemes of gRPC targets whose rest gRPC checks itself."""
_ADDRESS_LISTS = ("ipv4:", "ipv6:")
_URL = re.compile(r"(\w+)://(?:[^/@]*@)?([^/]*)")
_PORT = re.compile(r"[0-9]{1,5}")


def parse_host(host: str) -> str:
    """Return a host to listen on as sockets take it: IPv6 without brackets.

    Raises:
        ValueError: It is a URL, or has a port.
    """
    if "://" in host:
        raise ValueError("a host has no scheme and no port: write a name or an IP address")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and not _is_ipv6(bare):
        raise ValueError("a host has no port: the port is a setting of its own")
    return bare


def parse_target(target: str) -> str:
    """Return a gRPC target unchanged, or explain how to write it.

    gRPC takes what it does not understand for a name to look up, and fails only when it is called.

    Raises:
        ValueError: It is a URL, has no port, or its IPv6 address has no brackets.
    """
    if target.startswith(_SCHEMES):
        return target
    if url := _URL.match(target):
        scheme, address = url.groups()
        tls = "; tls_ca switches TLS on" if scheme in ("https", "grpcs") else ""
        port = "" if _PORT.fullmatch(address.rpartition(":")[2]) else ":PORT"
        raise ValueError(f"a gRPC target has no {scheme}://: write {address}{port}{tls}")
    for address in _addresses(target):
        host, _, port = address.rpartition(":")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            if address.startswith("["):
                raise ValueError(f"the port is missing: write {address}:PORT")
            right = f"[{address}]:PORT" if _is_ipv6(address) else f"[{host}]:{port}"
            raise ValueError(f"an IPv6 address needs brackets: write {right}")
        if not host:
            raise ValueError(f"the port is missing: write {address.rstrip(':')}:PORT")
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f"a port is a number up to 65535, not {port!r}")
    return target


def join_host_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve_free_address(host: str, port: int) -> str:
    """Return the IP address to listen on, after checking that the port is free.

    gRPC and Envoy report a taken port in several lines of their own; this check makes it one.

    Args:
        host: Host name or IP address, as `parse_host` returns it.
        port: Port number. 0 is always free.

    Raises:
        StartupError: The port is taken, or the address does not belong to this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {join_host_port(host, port)}: "
            "the port is taken, or the address is not a local one"
        ) from error
    return str(address[0])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or IP address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def targets_loopback(target: str) -> bool:
    """Tell whether all servers of a gRPC target are on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    addresses = _addresses(target.removeprefix("dns:///"))
    return all(is_loopback(address.rpartition(":")[0]) for address in addresses)


def _addresses(target: str) -> list[str]:
    scheme = target[:5]
    return target[5:].split(",") if scheme in _ADDRESS_LISTS else [target]


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
