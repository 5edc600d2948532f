"""The processes that a user starts, started by the command that a user gives."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.fixtures.milvus import wipe

from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from suite.parent_death import with_parent_death_signal
from suite.process import ChildProcess
from suite.services import RECOMMENDER_SERVICE

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MOVIELENS_DIR"}
"""Without real data: these tests are about the small synthetic set."""


def marquee(
    *arguments: str | Path, timeout: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        with_parent_death_signal([sys.executable, "-m", "marquee_cli", *map(str, arguments)]),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=ENVIRONMENT | variables,
    )


@dataclass(frozen=True)
class Built:
    """What training handed over."""

    data: Path
    bundle: Path


@dataclass(frozen=True)
class Running:
    """Three services under way."""

    process: ChildProcess
    """The command that started them."""
    embedder: str
    search: str
    gateway: str

    def pids(self) -> list[int]:
        """Return the process ids of the services."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]


@contextmanager
def serving(
    bundle: Path,
    milvus_uri: str | Path,
    log: Path,
    *,
    before: Sequence[str] = (),
    connection: Sequence[str] = (),
    **variables: str,
) -> Iterator[Running]:
    """Run `marquee serve all` on free ports until the block ends.

    Args:
        bundle: The model.
        milvus_uri: Where the vectors are kept.
        log: File that takes what all write to stderr.
        connection: TLS options of the command.
        before: What the command line begins with, as in `nohup marquee serve all`.
        variables: Environment variables.
    """
    options = ["--port", "0", "--embedder-port", "0", "--search-port", "0", "--json"]
    options += ["--bundle", str(bundle), "--milvus-uri", str(milvus_uri)]
    command = [*before, sys.executable, "-m", "marquee_cli", *connection, "serve", "all", *options]
    process = ChildProcess("command", command)
    stdout = log.with_suffix(".json")
    process.start(ENVIRONMENT | variables, log=log, stdout=stdout)
    try:
        process.wait_until(lambda: stdout.read_text().endswith("\n"))
        targets = json.loads(stdout.read_text())
        yield Running(process, targets["embedder"], targets["search"], targets["gateway"])
    finally:
        process.stop(60)


def wait_until_ready(gateway: str) -> None:
    """Wait until the gateway has heard that an index is active: a second, at most two."""
    command = [sys.executable, "-m", "rpckit.probe", gateway, "--service", RECOMMENDER_SERVICE]
    waiting = with_parent_death_signal([*command, "--wait", "20"])
    subprocess.run(waiting, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A small bundle, trained once a session from a synthetic set."""
    folder = tmp_path_factory.mktemp("built")
    data, bundle = folder / "data", folder / "bundle"
    for step in (
        marquee("data", "--synthetic", "--out", data),
        marquee(
            *("train", "--epochs", "2", "--out", folder / "run"),
            *("--data", data, "--bundle", bundle),
            timeout=240,
        ),
    ):
        assert step.returncode == 0, step.stderr
    return Built(data, bundle)


@pytest.fixture(scope="module", params=["lite", "server"])
def milvus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each kind of Milvus in turn."""
    if request.param == "server":
        uri: str = request.getfixturevalue("milvus_uri")
        asyncio.run(wipe(uri))  # other tests have used it before
        return uri
    return str(tmp_path_factory.mktemp("lite") / "milvus.db")


@pytest.fixture(scope="module")
def suite(built: Built, milvus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The three services with the index of the catalogue active."""
    with serving(built.bundle, milvus, tmp_path_factory.mktemp("log") / "suite.log") as running:
        step = marquee(
            "index",
            *("--data", built.data),
            *("--embedder-target", running.embedder),
            *("--search-target", running.search),
        )
        assert step.returncode == 0, step.stderr
        wait_until_ready(running.gateway)
        yield running


@pytest.fixture
def recommender(suite: Running) -> Iterator[RecommenderServiceStub]:
    with grpc.insecure_channel(suite.gateway) as channel:
        yield RecommenderServiceStub(channel)


@pytest.fixture
def embedder(suite: Running) -> Iterator[EmbedderServiceStub]:
    with grpc.insecure_channel(suite.embedder) as channel:
        yield EmbedderServiceStub(channel)


@pytest.fixture
def indexes(suite: Running) -> Iterator[IndexServiceStub]:
    with grpc.insecure_channel(suite.search) as channel:
        yield IndexServiceStub(channel)


@pytest.fixture
def searcher(suite: Running) -> Iterator[SearchServiceStub]:
    with grpc.insecure_channel(suite.search) as channel:
        yield SearchServiceStub(channel)
