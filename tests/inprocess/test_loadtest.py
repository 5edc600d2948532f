"""The load generator against real gRPC servers that behave as they are told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest

from loadtest import h2load, resources
from loadtest.bench.echo import Echo
from loadtest.bench.replies import made_replies
from loadtest.clients import LoadError, measure
from loadtest.histogram import Latencies
from loadtest.job import Job, Outcome, Requests
from loadtest.pacing import Closed, Open, Pacing
from loadtest.sampling import sample
from loadtest.scenario import Scenario, local_servers
from loadtest.wire import driver as wire
from loadtest.workload import METHODS, Workload
from marquee.recommender.v1 import recommender_pb2
from rpckit.settings.client import ClientSettings

RECOMMEND = METHODS["Recommend"]
Handler = Callable[[bytes, grpc.ServicerContext], bytes]


class Behaving(grpc.GenericRpcHandler):
    def __init__(self, handlers: dict[str, Handler]) -> None:
        self.handlers = {
            f"/{path}": grpc.unary_unary_rpc_method_handler(each) for path, each in handlers.items()
        }

    def service(self, details: grpc.HandlerCallDetails):
        return self.handlers.get(details.method)


@contextmanager
def serving(handlers: dict[str, Handler], *options: tuple[str, int]) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    server.add_generic_rpc_handlers((Behaving(handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def replying(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    return b"reply"


def refusing(_request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much, é, and more words: " + "x" * 300)
    raise AssertionError


def job(target: str, pacing: Pacing, **changes: object) -> Job:
    endpoint = ClientSettings(target=target, timeout_s=5.0)
    made = Job({"Recommend": endpoint}, Workload(users=100), pacing, duration=1.0, warm_up=0.2)
    return replace(made, **changes)


def run(plan: Job) -> Outcome:
    return wire.drive(plan, Requests.of(plan), lambda: time.perf_counter() + 0.01)


def latencies(outcome: Outcome, method: str = "Recommend") -> Latencies:
    return Latencies.decode(outcome.methods[method].latencies)


def test_a_closed_loop_gets_every_answer() -> None:
    with serving({RECOMMEND: replying}) as target:
        outcome = run(job(target, Closed(8)))
    assert latencies(outcome).count > 50
    assert not outcome.methods["Recommend"].failures
    assert outcome.cpu_seconds > 0


def test_an_open_loop_sends_at_its_rate_whatever_the_answers() -> None:
    with serving({RECOMMEND: replying}) as target:
        outcome = run(job(target, Open(100.0, "even"), duration=2.0))
    assert latencies(outcome).count == pytest.approx(200, abs=2)


def test_an_open_loop_counts_the_waiting_that_a_closed_one_hides() -> None:
    """Coordinated omission: one stall of half a second among answers of a millisecond."""
    shares = {}
    for pacing in (Closed(1), Open(200.0, "even")):
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
            outcome = run(job(target, pacing, duration=2.0))
        assert stalled.is_set()
        seen = latencies(outcome)
        assert seen.longest > 0.4
        slow = sum(seen.percentile(percent) > 0.2 for percent in range(100)) / 100
        shares[type(pacing)] = slow
    # 200 calls a second are due in the 0.3 s that have 0.2 s and more of the stall before them
    assert shares[Open] > 0.1
    assert shares[Closed] < 0.05


def test_failures_are_counted_by_their_status_and_not_as_latency() -> None:
    with serving({RECOMMEND: refusing}) as target:
        outcome = run(job(target, Closed(4)))
    failures = outcome.methods["Recommend"].failures
    assert failures.keys() == {"RESOURCE_EXHAUSTED"}
    assert latencies(outcome).count == 0


def test_a_missing_method_is_unimplemented() -> None:
    with serving({}) as target:
        outcome = run(job(target, Open(50.0)))
    assert outcome.methods["Recommend"].failures.keys() == {"UNIMPLEMENTED"}


def test_calls_that_outlive_their_budget_are_failures() -> None:
    release = threading.Event()

    def hanging(_request: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(10)
        return b"late"

    with serving({RECOMMEND: hanging}) as target:
        plan = job(target, Open(20.0), duration=0.5, warm_up=0.0)
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
            Open(300.0, "even"),
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
        outcome = run(job(target, Closed(4), workload=Workload(users=20)))
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
            Closed(8),
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
        run(job(f"ipv4:{one},{two}", Open(100.0)))
    assert min(counts) > 0.3 * sum(counts)


def test_connections_that_the_server_retires_are_replaced_without_loss() -> None:
    age = ("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 2000)
    with serving({RECOMMEND: replying}, *age) as target:
        outcome = run(job(target, Open(200.0), duration=1.5))
    assert not outcome.methods["Recommend"].failures
    assert latencies(outcome).count == pytest.approx(300, abs=60)


def test_a_server_that_goes_away_is_unavailable_and_not_asked_without_end() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Behaving({RECOMMEND: replying}),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    timer = threading.Timer(0.5, lambda: server.stop(None))
    timer.start()
    outcome = run(job(target, Closed(4), duration=1.5))
    timer.join()
    failures = outcome.methods["Recommend"].failures
    assert {"UNAVAILABLE"} <= failures.keys() <= {"UNAVAILABLE", "CANCELLED"}
    assert sum(failures.values()) < 4 * 1.5 / 0.05 + 10


def test_processes_start_together_and_their_histograms_are_merged() -> None:
    with serving({RECOMMEND: replying}) as target:
        measured = measure(
            job(target, Open(100.0, "even"), duration=2.0),
            name="two",
            processes=2,
            servers={"server": os.getpid()},
        )
    assert measured.calls == pytest.approx(200, abs=4)
    assert measured.failed == 0
    assert measured.offered_per_s == 100.0
    assert measured.per_second == pytest.approx(100, rel=0.03)
    assert 0 < measured.cpu_us_per_call("server") < 50_000


def test_a_server_that_is_not_there_is_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(LoadError, match=r"refused") as failure:
            measure(job(target, Closed(1)), name="none", processes=2)
    assert "\n" not in str(failure.value)


def test_the_echo_answers_as_the_services_do() -> None:
    replies = made_replies()
    assert replies.keys() == set(METHODS.values())
    recommended = recommender_pb2.RecommendResponse.FromString(replies[RECOMMEND])
    assert [each.rank for each in recommended.recommendations] == list(range(1, 11))
    assert Echo(replies).service(Details("/" + RECOMMEND)) is not None
    assert Echo(replies).service(Details("/other")) is None


class Details(grpc.HandlerCallDetails):
    def __init__(self, method: str) -> None:
        self.method = method


def test_h2load_keeps_callers_busy_and_its_answers_are_checked() -> None:
    try:
        h2load.find()
    except LoadError as error:
        pytest.skip(str(error))
    with serving({RECOMMEND: replying}) as target:
        measured = h2load.measure(
            ClientSettings(target=target),
            "Recommend",
            Workload(users=50),
            name="h2load",
            connections=2,
            streams=4,
            duration=1.0,
            warm_up=0.2,
            servers={"server": os.getpid()},
        )
    assert measured.calls > 20
    assert measured.failed == 0
    assert measured.concurrency == 8
    assert measured.cpu_s["server"] > 0


def test_h2load_on_errors_is_refused_although_they_are_http_200() -> None:
    try:
        h2load.find()
    except LoadError as error:
        pytest.skip(str(error))
    with (
        serving({RECOMMEND: refusing}) as target,
        pytest.raises(LoadError, match="RESOURCE_EXHAUSTED"),
    ):
        h2load.measure(ClientSettings(target=target), "Recommend", Workload(), name="errors")


def test_a_sample_says_with_which_status_a_call_failed() -> None:
    with serving({RECOMMEND: replying}) as target:
        assert sample(ClientSettings(target=target), "Recommend", [b"", b""]) == [b"reply"] * 2
        with pytest.raises(LoadError, match=f"{target}: UNIMPLEMENTED"):
            sample(ClientSettings(target=target), "EmbedUsers", [b""])


def test_a_scenario_drives_its_loads_in_order_and_finds_the_local_server() -> None:
    with serving({RECOMMEND: replying}) as target:
        endpoints = {"Recommend": ClientSettings(target=target)}
        assert local_servers(endpoints) == {"RecommenderService": os.getpid()}
        done: list[str] = []
        scenario = Scenario(
            "s", endpoints, Workload(), [Closed(2), Open(50.0)], duration=0.5, warm_up=0.1
        )
        measured = scenario.run(lambda each: done.append(each.load))
    assert done == ["2 callers", "50/s"]
    assert all(each.calls and each.cpu_s["RecommenderService"] > 0 for each in measured)


def test_resources_of_a_process_are_read_with_those_of_its_children() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    before = resources.cpu_seconds([os.getpid()])
    alone = resources.resident_bytes(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert resources.cpu_seconds([child.pid]) >= 0.25
        assert resources.cpu_seconds([os.getpid(), child.pid]) - before >= 0.25
        assert resources.resident_bytes(child.pid) > 2**20
        assert resources.resident_bytes(os.getpid()) > alone + 2**20
        child.communicate(b"\n")
    assert resources.cpu_seconds([child.pid]) == 0


def test_a_tree_is_counted_once_however_often_it_is_named() -> None:
    once = resources.cpu_seconds([os.getpid()])
    assert resources.cpu_seconds([os.getpid()] * 3) < 2 * once
