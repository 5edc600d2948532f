"""Addresses to listen on and to connect to, in every spelling that people use for them."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from rpckit.errors import StartupError

_SCHEMES = ("dns:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Schemes of gRPC targets whose rest gRPC checks itself."""
_ADDRESS_LISTS = ("ipv4:", "ipv6:")
_UNIX = "unix:"
_URL = re.compile(r"(\w+)://(?:[^/@]*@)?([^/]*)")
_PORT = re.compile(r"[0-9]{1,5}")


def parse_host(host: str) -> str:
    """Return a host to listen on as sockets take it: IPv6 without brackets, `unix:/path`.

    Raises:
        ValueError: It is a URL, has a port, or a socket's path is not absolute.
    """
    if host.startswith(_UNIX):
        path = host.removeprefix(_UNIX).removeprefix("//")
        if not path.startswith("/"):
            raise ValueError("the path of a socket is absolute: write unix:/PATH")
        return _UNIX + path
    if "://" in host:
        raise ValueError("a host has no scheme and no port: write a name or an IP address")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and not is_ip_address(bare):
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
            right = f"[{address}]:PORT" if is_ip_address(address) else f"[{host}]:{port}"
            raise ValueError(f"an IPv6 address needs brackets: write {right}")
        if not host:
            raise ValueError(f"the port is missing: write {address.rstrip(':')}:PORT")
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f"a port is a number up to 65535, not {port!r}")
    return target


def join_host_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address; a socket has no port."""
    if socket_path(host):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def socket_path(host: str) -> Path | None:
    """Return the path of a host that is a Unix socket, as in `unix:/path`; None for any other."""
    return Path(host.removeprefix(_UNIX)) if host.startswith(_UNIX) else None


def resolve_free_address(host: str, port: int) -> str:
    """Return the IP address or path to listen on, after checking that nothing listens there.

    gRPC and Envoy report a taken port in several lines of their own; this check makes it one.

    Args:
        host: Host name or IP address, as `parse_host` returns it.
        port: Port number. 0 is always free.

    Raises:
        StartupError: The port or the socket is taken, or the address or the socket's folder does
            not belong to this machine or user.
    """
    if path := socket_path(host):
        _check_free_socket(path)
        return str(path)
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


def is_ip_address(text: str) -> bool:
    """Tell whether a text is an IP address; IPv6 without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether a host to listen on is reachable from this machine only."""
    if socket_path(host):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def targets_loopback(target: str) -> bool:
    """Tell whether all servers of a gRPC target are on this machine."""
    if target.startswith((_UNIX, "unix-abstract:")):
        return True
    addresses = _addresses(target.removeprefix("dns:///"))
    return all(is_loopback(address.rpartition(":")[0]) for address in addresses)


def _check_free_socket(path: Path) -> None:
    """Check that a socket can be made, and remove one that a dead server left."""
    try:
        if path.exists() and not path.is_socket():
            raise OSError("the file is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except FileNotFoundError:
                pass
            else:
                raise OSError("a server listens there")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))  # the path may be too long, or its folder missing or closed
            path.unlink()
    except OSError as error:
        raise StartupError(f"cannot listen on {_UNIX}{path}: {error.strerror or error}") from error


def _addresses(target: str) -> list[str]:
    scheme = target[:5]
    return target[5:].split(",") if scheme in _ADDRESS_LISTS else [target]
