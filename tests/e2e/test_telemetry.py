"""What the three processes tell about one Recommend."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.e2e.conftest import Built, Running, marquee, serving
from tests.fixtures.collector import CollectedSpan, Collector

from marquee.recommender.v1 import recommender_pb2
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.type.v1.types_pb2 import User
from rpckit.observing.metrics import definitions as metrics
from suite.ports import free_ports

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVICES = ("gateway", "embedder", "search")
PROGRAMS = {"gateway", "embedder_service", "search_service"}


@pytest.fixture
def metrics_ports() -> dict[str, int]:
    """A free port for the metrics of each service."""
    return dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))


@pytest.fixture
def observed(
    built: Built, tmp_path: Path, collector: Collector, metrics_ports: dict[str, int]
) -> Iterator[Running]:
    """The suite with an index on Milvus Lite, sending traces and serving metrics."""
    variables = {}
    for service in SERVICES:
        prefix = f"MARQUEE_{service.upper()}"
        variables[f"{prefix}_OTLP_ENDPOINT"] = collector.endpoint
        variables[f"{prefix}_METRICS_PORT"] = str(metrics_ports[service])
    log = tmp_path / "suite.log"
    with serving(built.bundle, tmp_path / "milvus.db", log, **variables) as running:
        step = marquee(
            "index",
            *("--data", built.data),
            *("--embedder-target", running.embedder),
            *("--search-target", running.search),
        )
        assert step.returncode == 0, step.stderr
        yield running


def recommend(suite: Running) -> None:
    with grpc.insecure_channel(suite.gateway) as channel:
        RecommenderServiceStub(channel).Recommend(
            recommender_pb2.RecommendRequest(user=User(age=25)),
            metadata=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),),
            timeout=10,
            wait_for_ready=True,
        )


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text: str = response.read().decode()
        return text


def scrape_when_ready(port: int) -> str:
    """Scrape a service once it has noticed that it is ready, which an answer may come before."""
    deadline = time.monotonic() + 5
    while True:
        text = scrape(port)
        if re.search(r"^marquee_ready\{.*\} 1", text, re.MULTILINE):
            return text
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


def path_to(span: CollectedSpan, spans: list[CollectedSpan]) -> list[tuple[str, str]]:
    """Return (program, name) from the outermost span down to this one."""
    by_id = {each.span_id: each for each in spans}
    path = []
    at: CollectedSpan | None = span
    while at is not None:
        path.append((at.program, at.name.rpartition("/")[2]))
        at = by_id.get(at.parent_id)
    return path[::-1]


def test_one_trace_and_the_metrics_of_three_processes_tell_where_a_recommendation_went(
    observed: Running, collector: Collector, metrics_ports: dict[str, int]
) -> None:
    recommend(observed)
    scraped = {service: scrape_when_ready(port) for service, port in metrics_ports.items()}
    observed.process.stop(60)  # spans are sent when the processes end, at the latest

    spans = [span for span in collector.spans if span.trace_id == TRACE]
    paths = {span.name.rpartition("/")[2]: path_to(span, spans) for span in spans}
    gateway = ("gateway", "Recommend")
    assert paths["paddle_predict"] == [
        gateway,
        ("gateway", "EmbedUsers"),
        ("embedder_service", "EmbedUsers"),
        ("embedder_service", "paddle_predict"),
    ]
    assert paths["resident_search"] == [
        gateway,
        ("gateway", "SearchMovies"),
        ("search_service", "SearchMovies"),
        ("search_service", "resident_search"),
    ]
    assert {span.program for span in spans} == PROGRAMS

    def has(service: str, sample: str) -> bool:
        return re.search(rf"^{sample} [1-9]", scraped[service], re.MULTILINE) is not None

    rpc = r"marquee_rpc_server_requests_total\{.*code=\"OK\",method=\"%s\"\}"
    assert has("gateway", rpc % "marquee.recommender.v1.RecommenderService/Recommend")
    assert has("embedder", rpc % "marquee.embedder.v1.EmbedderService/EmbedUsers")
    assert has("search", rpc % "marquee.search.v1.SearchService/SearchMovies")
    assert has("gateway", r"marquee_rpc_client_duration_seconds_count\{.*SearchMovies\"\}")
    assert has("embedder", r"marquee_stage_duration_seconds_count\{stage=\"paddle_predict\"\}")
    assert has("search", r"marquee_stage_duration_seconds_count\{stage=\"resident_search\"\}")
    assert has("embedder", r"marquee_model_info\{.*\}")
    assert has("search", r"marquee_index_info\{.*\}")
    assert has("search", "marquee_index_movies")
    for service in SERVICES:
        assert has(service, r"marquee_queue_wait_seconds_count\{.*\}")
        assert has(service, r"marquee_ready\{.*\}")
        assert has(service, r"marquee_rpc_server_in_flight_limit\{.*\}")
    unknown = set(re.findall(r"^# TYPE (marquee_\w+)", "".join(scraped.values()), re.MULTILINE))
    assert unknown <= {metric.name for metric in metrics.METRICS}
