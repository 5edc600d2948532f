"""Client of Envoy's administration interface, on a Unix socket that only this user can open.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from __future__ import annotations

import json
import socket
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from rpckit.finishing import finish_in_thread

TIMEOUT_SECONDS = 2.0
"""Timeout of a request, in seconds."""


class Admin:
    """Client of the Envoy that this process runs in."""

    def __init__(self, path: Path) -> None:
        """Use the Unix socket at a path; it connects for each request."""
        self._path = path

    async def port(self) -> int:
        """Return the port that Envoy listens on; 0 if it is a socket.

        Raises:
            OSError: Envoy does not answer (yet).
            LookupError: Envoy does not listen yet.
        """
        answer = json.loads(await self._request("GET", "/listeners?format=json"))
        [listener] = answer.get("listener_statuses") or [{}]
        address = listener["local_address"]
        return 0 if "pipe" in address else int(address["socket_address"]["port_value"])

    async def refuse_connections(self) -> None:
        """Refuse new connections; the next response on each open one asks the client to leave."""
        await self._request("POST", "/healthcheck/fail")
        await self._request("POST", "/drain_listeners")

    async def is_idle(self) -> bool:
        """Tell whether no call is in progress and all responses are sent."""
        gauges = await self._request(
            "GET", "/stats?filter=^http\\.rpc\\.downstream_(rq_active|cx_tx_bytes_buffered)$"
        )
        return all(line.endswith(": 0") for line in gauges.splitlines())

    async def _request(self, verb: str, path: str) -> str:
        return await finish_in_thread(self._request_blocking, verb, path)

    def _request_blocking(self, verb: str, path: str) -> str:
        connection = _UnixConnection(self._path)
        try:
            connection.request(verb, path)
            response = connection.getresponse()
            body = response.read().decode()
        except HTTPException as error:
            raise OSError(f"Envoy does not answer {path}: {error}") from error
        finally:
            connection.close()
        if response.status != HTTPStatus.OK:
            raise OSError(f"Envoy refused {path}: {response.status} {body}")
        return body


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
