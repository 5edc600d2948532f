"""The kit's own client, in this process, against gRPC servers that answer as a test says."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from tests.fixtures.load import (
    RECOMMEND,
    Handler,
    HandlerTable,
    job,
    latencies,
    refusing,
    replying,
    run,
    serving,
)

from loadtest.load import ClosedLoop, OpenLoop
from loadtest.workload import METHODS, Workload
from marquee.recommender.v1 import recommender_pb2
from rpckit.settings.client import ClientSettings


def test_a_closed_loop_gets_every_answer() -> None:
    with serving({RECOMMEND: replying}) as target:
        outcome = run(job(target, ClosedLoop(8)))
    assert latencies(outcome).count > 50
    assert not outcome.methods["Recommend"].failures
    assert outcome.cpu_seconds > 0


def test_an_open_loop_sends_at_its_rate_whatever_the_answers() -> None:
    with serving({RECOMMEND: replying}) as target:
        outcome = run(job(target, OpenLoop(100.0, "even"), duration=2.0))
    assert latencies(outcome).count == pytest.approx(200, abs=2)


def test_an_open_loop_counts_the_waiting_that_a_closed_one_hides() -> None:
    """Coordinated omission: one stall of half a second among answers of a millisecond."""
    shares = {}
    for load in (ClosedLoop(1), OpenLoop(200.0, "even")):
        lock, stalled = threading.Lock(), threading.Event()
        begin = time.monotonic() + 0.8

        def stalling(
            _request: bytes,
            _context: grpc.ServicerContext,
            lock: threading.Lock = lock,
            stalled: threading.Event = stalled,
            begin: float = begin,
        ) -> bytes:
            with lock:
                if time.monotonic() > begin and not stalled.is_set():
                    stalled.set()
                    time.sleep(0.5)
            return b"reply"

        with serving({RECOMMEND: stalling}) as target:
            outcome = run(job(target, load, duration=2.0))
        assert stalled.is_set()
        seen = latencies(outcome)
        assert seen.longest > 0.4
        slow = sum(seen.percentile(percent) > 0.2 for percent in range(100)) / 100
        shares[type(load)] = slow
    # 200 calls a second are due in the 0.3 s that have 0.2 s and more of the stall before them
    assert shares[OpenLoop] > 0.1
    assert shares[ClosedLoop] < 0.05


def test_failures_are_counted_by_their_status_and_not_as_latency() -> None:
    with serving({RECOMMEND: refusing}) as target:
        outcome = run(job(target, ClosedLoop(4)))
    failures = outcome.methods["Recommend"].failures
    assert failures.keys() == {"RESOURCE_EXHAUSTED"}
    assert latencies(outcome).count == 0


def test_a_missing_method_is_unimplemented() -> None:
    with serving({}) as target:
        outcome = run(job(target, OpenLoop(50.0)))
    assert outcome.methods["Recommend"].failures.keys() == {"UNIMPLEMENTED"}


def test_calls_that_outlive_their_budget_are_failures() -> None:
    release = threading.Event()

    def hanging(_request: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(10)
        return b"late"

    with serving({RECOMMEND: hanging}) as target:
        plan = job(target, OpenLoop(20.0), duration=0.5, warm_up=0.0)
        endpoint = ClientSettings(target=target, timeout_s=0.3)
        outcome = run(replace(plan, endpoints={"Recommend": endpoint}))
        release.set()
    failures = outcome.methods["Recommend"].failures
    assert failures.keys() == {"DEADLINE_EXCEEDED"}
    assert failures["DEADLINE_EXCEEDED"] == pytest.approx(10, abs=6)


def test_a_mix_reaches_each_method_in_its_share() -> None:
    handlers = {METHODS["Recommend"]: replying, METHODS["EmbedUsers"]: replying}
    with serving(handlers) as target:
        endpoint = ClientSettings(target=target)
        plan = job(
            target,
            OpenLoop(300.0, "even"),
            endpoints={"Recommend": endpoint, "EmbedUsers": endpoint},
            workload=Workload({"Recommend": 0.75, "EmbedUsers": 0.25}),
        )
        outcome = run(plan)
    counts = {name: latencies(outcome, name).count for name in outcome.methods}
    assert sum(counts.values()) == pytest.approx(300, abs=3)
    assert counts["EmbedUsers"] == pytest.approx(75, abs=30)


def test_requests_arrive_as_they_were_made() -> None:
    seen: set[int] = set()

    def reading(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.add(recommender_pb2.RecommendRequest.FromString(request).user.user_id)
        assert context.time_remaining() < 6
        return b"reply"

    with serving({RECOMMEND: reading}) as target:
        outcome = run(job(target, ClosedLoop(4), workload=Workload(users=20)))
    assert seen == set(range(1, 21))
    assert not outcome.methods["Recommend"].failures


def test_large_requests_wait_for_the_servers_window() -> None:
    sizes: set[int] = set()

    def measuring(request: bytes, _context: grpc.ServicerContext) -> bytes:
        sizes.add(len(request))
        return b"reply" * 50_000

    with serving({METHODS["EmbedUsers"]: measuring}) as target:
        plan = job(
            target,
            ClosedLoop(8),
            endpoints={"EmbedUsers": ClientSettings(target=target)},
            workload=Workload({"EmbedUsers": 1.0}, users=30_000, batch=15_000),
        )
        expected = {len(each) for each in plan.workload.messages("EmbedUsers")}
        outcome = run(plan)
    assert min(expected) > 100_000
    assert sizes == expected
    assert latencies(outcome, "EmbedUsers").count > 0
    assert not outcome.methods["EmbedUsers"].failures


def test_calls_go_round_several_addresses() -> None:
    counts = [0, 0]

    def counting(which: int) -> Handler:
        def handle(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            counts[which] += 1
            return b"reply"

        return handle

    with serving({RECOMMEND: counting(0)}) as one, serving({RECOMMEND: counting(1)}) as two:
        run(job(f"ipv4:{one},{two}", OpenLoop(100.0)))
    assert min(counts) > 0.3 * sum(counts)


def test_connections_that_the_server_retires_are_replaced_without_loss() -> None:
    age = ("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 2000)
    with serving({RECOMMEND: replying}, *age) as target:
        outcome = run(job(target, OpenLoop(200.0), duration=1.5))
    assert not outcome.methods["Recommend"].failures
    assert latencies(outcome).count == pytest.approx(300, abs=60)


def test_a_server_that_goes_away_is_unavailable_and_not_asked_without_end() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((HandlerTable({RECOMMEND: replying}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    timer = threading.Timer(0.5, lambda: server.stop(None))
    timer.start()
    outcome = run(job(target, ClosedLoop(4), duration=1.5))
    timer.join()
    failures = outcome.methods["Recommend"].failures
    assert {"UNAVAILABLE"} <= failures.keys() <= {"UNAVAILABLE", "CANCELLED"}
    assert sum(failures.values()) < 4 * 1.5 / 0.05 + 10
