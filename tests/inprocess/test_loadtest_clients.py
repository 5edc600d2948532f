"""Client processes, h2load and scenarios, against gRPC servers that answer as a test says."""

from __future__ import annotations

import os
import socket

import grpc
import pytest
from tests.fixtures.load import (
    RECOMMEND,
    job,
    refusing,
    replying,
    serving,
)

from loadtest import h2load
from loadtest.bench.echo import Echo
from loadtest.bench.replies import synthetic_replies
from loadtest.clients import LoadError, measure
from loadtest.load import ClosedLoop, OpenLoop
from loadtest.sampling import sample
from loadtest.scenario import Scenario, local_servers
from loadtest.workload import METHODS, Workload
from marquee.recommender.v1 import recommender_pb2
from rpckit.settings.client import ClientSettings


def test_processes_start_together_and_their_histograms_are_merged() -> None:
    with serving({RECOMMEND: replying}) as target:
        measured = measure(
            job(target, OpenLoop(100.0, "even"), duration=2.0),
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
            measure(job(target, ClosedLoop(1)), name="none", processes=2)
    assert "\n" not in str(failure.value)


def test_the_echo_answers_as_the_services_do() -> None:
    replies = synthetic_replies()
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
            "s", endpoints, Workload(), [ClosedLoop(2), OpenLoop(50.0)], duration=0.5, warm_up=0.1
        )
        measured = scenario.run(lambda each: done.append(each.load))
    assert done == ["2 callers", "50/s"]
    assert all(each.calls and each.cpu_s["RecommenderService"] > 0 for each in measured)
