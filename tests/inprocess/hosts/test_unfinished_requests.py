"""Requests that never arrive completely: what they hold is bounded, and ends, on either host."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.puppet import SERVICE
from tests.fixtures.raw_http2 import RawConnection, message
from tests.inprocess.hosts.processes import PuppetProcess, command, connected, memory_mib

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub

METHOD = f"/{SERVICE.full_name}/EmbedMovies"
CHECK = "/grpc.health.v1.Health/Check"
MIB = 1 << 20
STREAMS = 60
UNFINISHED = b"\0" + struct.pack(">I", 8 * MIB) + bytes(8 * MIB - 64)
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAUTHENTICATED = "4", "8", "12", "16"


@pytest.mark.parametrize("path", [METHOD, CHECK])
async def test_60_requests_of_8_mib_that_never_end_hold_less_than_three_times_their_budget(
    start: Callable[..., PuppetProcess], path: str
) -> None:
    puppet = start(default_deadline_s=2)
    with RawConnection(puppet.target) as attacker:
        before = memory_mib(puppet)
        streams = [attacker.open(path, UNFINISHED, ends=False) for _ in range(STREAMS)]
        await asyncio.to_thread(attacker.run, 1.5)
        assert memory_mib(puppet) - before < 3 * 64  # they would hold 480
        async with connected(puppet.target) as channel:
            response = await EmbedderServiceStub(channel).EmbedMovies(command("echo x"), timeout=1)
        assert response.vectors.data == b"x", "the budget is not a place in the queue"
        attacker.run(10, until=lambda: len(attacker.statuses) == STREAMS)
    assert {attacker.statuses[stream] for stream in streams} == {
        RESOURCE_EXHAUSTED,  # over the budget
        DEADLINE_EXCEEDED,  # within it
    }


async def test_a_request_has_the_callers_own_deadline_to_arrive(target: str) -> None:
    with RawConnection(target) as client:
        started = time.monotonic()
        client.open(METHOD, UNFINISHED[:100], ends=False, grpc_timeout="300m")
        await asyncio.to_thread(client.run, 3, lambda: bool(client.statuses))
        assert time.monotonic() - started < 1
    # C-core and a well-behaved client end the call by themselves at that time.
    assert set(client.statuses.values()) <= {DEADLINE_EXCEEDED, "reset"}


@pytest.mark.parametrize("path", [METHOD, CHECK])
async def test_a_call_without_a_request_is_refused(target: str, path: str) -> None:
    with RawConnection(target) as client:
        stream = client.open(path, b"")
        await asyncio.to_thread(client.run, 3, lambda: bool(client.statuses))
    assert client.statuses == {stream: UNIMPLEMENTED}


async def test_unfinished_requests_take_no_place_of_those_that_are_answered(
    start: Callable[..., PuppetProcess],
) -> None:
    puppet = start(max_concurrent_rpcs=3, default_deadline_s=2)
    with RawConnection(puppet.target) as attacker:
        for _ in range(6):
            attacker.open(METHOD, UNFINISHED[:100], ends=False)
        await asyncio.to_thread(attacker.run, 0.3)
        async with connected(puppet.target) as channel:
            stub = EmbedderServiceStub(channel)
            await asyncio.gather(*(stub.EmbedMovies(command("sleep 0.1")) for _ in range(3)))


async def test_who_has_no_token_is_refused_before_the_request_has_arrived(
    start: Callable[..., PuppetProcess], tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text("caller read " + "t" * 32 + "\n")
    puppet = start(token_file=tokens)
    with RawConnection(puppet.target) as attacker:
        stream = attacker.open(METHOD, UNFINISHED[:100], ends=False)
        await asyncio.to_thread(attacker.run, 3, lambda: bool(attacker.statuses))
    assert attacker.statuses == {stream: UNAUTHENTICATED}


async def test_one_callers_unfinished_requests_do_not_cost_another_caller_his(
    start: Callable[..., PuppetProcess], tmp_path: Path
) -> None:
    good, bad = "g" * 32, "b" * 32
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"good read {good}\nbad read {bad}\n")
    puppet = start(token_file=tokens)
    with RawConnection(puppet.target) as attacker, RawConnection(puppet.target) as honest:
        body = command("echo " + "x" * (6 * MIB)).SerializeToString()
        for _ in range(20):
            attacker.open(METHOD, UNFINISHED, ends=False, authorization=f"Bearer {bad}")
        stream = honest.open(METHOD, message(body)[:-1], ends=False, authorization=f"Bearer {good}")
        await asyncio.gather(
            asyncio.to_thread(attacker.run, 1.5), asyncio.to_thread(honest.run, 1.5)
        )
    assert RESOURCE_EXHAUSTED in attacker.statuses.values()
    assert stream not in honest.statuses, "it is unfinished too, but it is his only one"
