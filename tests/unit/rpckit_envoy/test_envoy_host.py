"""The host against an ASGI server that is a list of events: what no well-behaved client sends."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2
from tests.fixtures.puppet import SERVICE, Puppet, PuppetSettings
from tests.inprocess.hosts.processes import command

from rpckit.observing.logs import AccessLog
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import AllowAll, Dispatcher, Mount
from rpckit.serving.health import Health
from rpckit_envoy.admin import Admin
from rpckit_envoy.host import EnvoyHost
from rpckit_envoy.protocol import Event, frame

METHOD = f"/{SERVICE.full_name}/EmbedMovies"
WATCH = "/grpc.health.v1.Health/Watch"
GRPC = (b"content-type", b"application/grpc")


class Caller:
    """One ASGI call; `goes` when told to, as pyvoy has it: seen only by asking."""

    def __init__(self, body: bytes, *, ends: bool = True, answer_is_wanted: bool = True) -> None:
        self.sent: list[Event] = []
        self.has_gone = asyncio.Event()
        self.questions = 0
        self._body: bytes | None = body
        self._ends = ends
        self._answer_is_wanted = answer_is_wanted

    async def receive(self) -> Event:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": not self._ends}
        if not self._ends:
            await self.has_gone.wait()
        self.questions += 1
        if self.has_gone.is_set():
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, event: Event) -> None:
        if not self._answer_is_wanted:
            raise OSError
        self.sent.append(event)

    @property
    def status(self) -> bytes:
        """The grpc-status, wherever it stands."""
        headers = [header for event in self.sent for header in event.get("headers", ())]
        return dict(headers)[b"grpc-status"]


def host(**settings: Any) -> EnvoyHost:
    made = PuppetSettings(**settings)
    puppet, telemetry = Puppet(), Telemetry("test")
    mounts = [Mount(SERVICE, puppet, puppet.ready)]
    dispatcher = Dispatcher(
        mounts,
        telemetry=telemetry,
        access_log=AccessLog("off"),
        authorizer=AllowAll(),
        max_concurrent=made.max_concurrent_rpcs,
        default_deadline=made.default_deadline_s,
        margin=0.0,
        max_send_bytes=made.max_send_message_bytes,
    )
    health = Health(mounts, telemetry)
    return EnvoyHost(made, dispatcher, health, AllowAll(), None, admin=Admin(Path("unused")))


async def call(
    host: EnvoyHost,
    caller: Caller,
    path: str = METHOD,
    headers: Sequence[tuple[bytes, bytes]] = (GRPC,),
) -> None:
    scope = {
        "type": "http",
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
    }
    await asyncio.create_task(host(scope, caller.receive, caller.send))


def request(text: str) -> bytes:
    return frame(command(text).SerializeToString())


async def test_an_answer_is_headers_then_a_message_then_the_status() -> None:
    caller = Caller(request("echo hello"))
    await call(host(), caller)
    begin, body, end = caller.sent
    assert begin["status"] == 200
    assert begin["trailers"]
    assert b"hello" in body["body"]
    assert end["headers"] == [(b"grpc-status", b"0")]


async def test_an_error_is_trailers_only() -> None:
    caller = Caller(request("raise something"))
    await call(host(), caller)
    assert caller.status == b"13"
    assert [event["type"] for event in caller.sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert "trailers" not in caller.sent[0]


@pytest.mark.parametrize(
    "headers",
    [[], [(b"content-type", b"application/json")], [(b"content-type", b"text/html")]],
)
async def test_a_request_that_is_not_grpc_is_an_unsupported_media_type(
    headers: list[tuple[bytes, bytes]],
) -> None:
    caller = Caller(b"{}")
    await call(host(), caller, headers=headers)
    assert caller.sent[0]["status"] == 415


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", [], b"12"),
        (request("echo a") * 2, [], b"12"),
        (request("echo a")[:-1], [], b"13"),
        (request("echo a"), [(b"grpc-timeout", b"soon")], b"13"),
        (request("echo a"), [(b"grpc-timeout", b"0m")], b"4"),
        (b"\1" + request("echo a")[1:], [(b"grpc-encoding", b"br")], b"12"),
    ],
)
async def test_a_request_that_breaks_the_protocol_gets_a_status(
    body: bytes, headers: list[tuple[bytes, bytes]], status: bytes
) -> None:
    caller = Caller(body)
    await call(host(), caller, headers=[GRPC, *headers])
    assert caller.status == status


async def test_a_defect_of_the_host_itself_is_never_a_success(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(Dispatcher, "dispatch", broken)
    caller = Caller(request("echo a"))
    with caplog.at_level(logging.CRITICAL):
        await call(host(), caller)
    assert caller.status == b"13"


async def test_a_request_that_never_ends_is_given_up() -> None:
    caller = Caller(request("echo a"), ends=False)
    async with asyncio.timeout(2):
        await call(host(default_deadline_s=0.1), caller)
    assert caller.status == b"4"


async def test_a_disconnected_caller_is_detected_and_gets_no_answer() -> None:
    caller = Caller(request("sleep 60"))
    asyncio.get_running_loop().call_later(0.3, caller.has_gone.set)
    async with asyncio.timeout(2):
        await call(host(default_deadline_s=100), caller)
    assert caller.sent == []


async def test_a_connected_caller_is_polled_sparingly() -> None:
    caller = Caller(request("sleep 1"))
    await call(host(), caller)
    assert caller.sent
    assert 1 <= caller.questions <= 7

    quick = Caller(request("sleep 0.05"))
    await call(host(), quick)
    assert quick.questions == 0


async def test_a_stream_ends_with_the_age_of_its_connection() -> None:
    body = frame(b"")
    caller = Caller(body)
    async with asyncio.timeout(2):
        await call(
            host(max_connection_age_s=0.1, max_connection_age_grace_s=0.1), caller, path=WATCH
        )
    assert caller.status == b"14"
    assert len(caller.sent) == 4, "headers, SERVING, the end of the body, trailers"


@pytest.mark.parametrize("path", [METHOD, WATCH, "/nothing"])
async def test_an_answer_to_a_disconnected_caller_is_dropped_without_a_log_record(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = frame(b"") if path == WATCH else request("echo a")
    async with asyncio.timeout(2):
        await call(host(), Caller(body, answer_is_wanted=False), path=path)
    assert caplog.records == []


async def test_the_status_of_an_error_carries_its_details() -> None:
    caller = Caller(request("refuse this"))
    await call(host(), caller)
    headers = dict(caller.sent[0]["headers"])
    details = headers[b"grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(details + b"=" * (-len(details) % 4)))
    assert status.code == 3
    assert len(status.details) == 2
