"""Find free ports."""

from __future__ import annotations

import errno
import random
import socket

LOOPBACK = "127.0.0.1"
_RANGE = 20_000, 30_000


def free_ports(number: int, host: str = LOOPBACK) -> list[int]:
    """Return different ports that are free now.

    They are below the range for outgoing connections, one of which could otherwise take the port
    before the server listens on it.

    Args:
        number: Number of ports.
        host: Address that the servers will listen on.

    Raises:
        OSError: Nothing can listen on that address.
    """
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(*_RANGE)  # noqa: S311 - not for security
        if port not in found and _is_free(host, port):
            found.append(port)
    return found


def _is_free(host: str, port: int) -> bool:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
