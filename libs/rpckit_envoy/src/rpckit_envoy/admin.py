"""Envoy's administration interface, on a socket that only this user can open.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from __future__ import annotations

import asyncio
import json
import socket
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT_SECONDS = 2.0
"""Longest that an answer may take."""


class Admin:
    """Asks the Envoy of this process."""

    def __init__(self, path: Path) -> None:
        """Talk to the socket at a path."""
        self._path = path

    async def port(self) -> int:
        """Return the port that the server listens on, once it does.

        Raises:
            OSError: Envoy does not answer yet.
            LookupError: It does not listen yet.
        """
        answer = json.loads(await self._ask("GET", "/listeners?format=json"))
        [listener] = answer.get("listener_statuses") or [{}]
        return int(listener["local_address"]["socket_address"]["port_value"])

    async def refuse_connections(self) -> None:
        """Accept no more connections; the next answer on each of those open asks to leave it."""
        await self._ask("POST", "/healthcheck/fail")
        await self._ask("POST", "/drain_listeners")

    async def is_idle(self) -> bool:
        """Tell whether all calls are answered and all answers are on their way."""
        gauges = await self._ask(
            "GET", "/stats?filter=^http\\.rpc\\.downstream_(rq_active|cx_tx_bytes_buffered)$"
        )
        return all(line.endswith(": 0") for line in gauges.splitlines())

    async def _ask(self, verb: str, path: str) -> str:
        return await asyncio.to_thread(self._ask_and_wait, verb, path)

    def _ask_and_wait(self, verb: str, path: str) -> str:
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
