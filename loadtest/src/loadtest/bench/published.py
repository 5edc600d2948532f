"""The published set: what `make bench` measures, in order, on one machine, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest import clients, h2load, machine, resources
from loadtest.bench import memory, ratios
from loadtest.bench.catalogue import MOVIES, build
from loadtest.bench.configurations import (
    ENVOY,
    FAST,
    LITE,
    LITE_ONE_BY_ONE,
    MILVUS,
    ONE_BY_ONE,
    RECOMMENDER,
    SEARCH,
    TWO_EMBEDDERS,
    TWO_SEARCHES,
    Configuration,
    Suite,
    started,
)
from loadtest.bench.launch import LaunchError, Program, free_ports, milvus, running, wait_for
from loadtest.clients import LoadError
from loadtest.job import ClientKind, Job
from loadtest.measurement import Measurement
from loadtest.pacing import Closed, Open, Pacing
from loadtest.results import Results
from loadtest.sampling import sample
from loadtest.scenario import search_space
from loadtest.workload import METHODS, Workload
from rpckit.settings import ClientSettings

_CURVE = (0.2, 0.4, 0.6, ratios.SATURATION, 0.8, 0.9)
"""Shares of the most calls a second at which latency is measured."""
_ECHOED = {"Recommend": "recommend", "EmbedUsers": "embed user", "SearchMovies": "search"}


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how much is measured."""

    seconds: float
    """Of each load."""
    curve: bool
    """Latency at several loads, not at one."""
    everything: bool
    """All configurations, not only what the checked ratios need."""
    memory_calls: int
    """Calls over which memory is watched; 0 leaves it out."""


FULL = Effort(seconds=5.0, curve=True, everything=True, memory_calls=200_000)
QUICK = Effort(seconds=2.0, curve=False, everything=False, memory_calls=0)


class Published:
    """One run of the published set."""

    def __init__(
        self,
        *,
        bundle: Path,
        work: Path,
        milvus_server: Path,
        effort: Effort,
        say: Callable[[str], None],
    ) -> None:
        """Prepare a run.

        Args:
            bundle: The model to serve.
            work: Folder for stores and logs; what is in it is used again.
            milvus_server: The `milvus-server` program; where it is missing, the measurements that
                need it are left out.
            effort: How long and how much.
            say: Told what goes on, a line at a time.
        """
        self.results = Results("Marquee: published measurements")
        self._bundle = bundle
        self._work = work
        self._server = milvus_server
        self._effort = effort
        self._say = say
        self._workload = Workload()

    def run(self) -> Results:
        """Measure everything and compute the ratios.

        Raises:
            LaunchError: A process did not start.
            LoadError: A load could not be driven, or replies are no good.
        """
        begun = time.monotonic()
        h2load.find()
        if (load := machine.load_average()) > 0.5:
            self._note(f"the machine was not idle at the start: load average {load:.1f}")
        self._bare("predictor", str(self._bundle))
        if self._server.exists():
            self._on_milvus()
        else:
            self._note(f"no Milvus server at {self._server}: all that needs one was left out")
        if self._effort.everything:
            for configuration in (LITE_ONE_BY_ONE, LITE):
                with self._suite(configuration, str(self._work / "lite")) as suite:
                    self._saturate(f"recommend: {configuration.name}", suite)
        self.results.ratios = ratios.compute(self.results)
        self.results.figures["bench_seconds"] = round(time.monotonic() - begun, 1)
        return self.results

    def _on_milvus(self) -> None:
        with milvus(self._server, self._work / "milvus") as store:
            with self._suite(MILVUS, store.target) as suite:
                self._alone(suite, "grpcio")
                self._search_alone(suite)
                self._echoes(suite)
                self._bare("milvus", store.target, self._index)
                self._bare("search", str(MOVIES), str(self._space_dimension))
                self._idle(f"recommend: {MILVUS.name}", suite)
                self._saturate(f"recommend: {MILVUS.name}", suite, store.pid)
                self._curve(f"recommend: {MILVUS.name}", suite)
                self._watch_memory(suite)
            with self._suite(ONE_BY_ONE, store.target) as suite:
                self._idle(f"recommend: {ONE_BY_ONE.name}", suite)
                self._saturate(f"recommend: {ONE_BY_ONE.name}", suite, store.pid)
            for configuration in (TWO_EMBEDDERS, TWO_SEARCHES) if self._effort.everything else ():
                with self._suite(configuration, store.target) as suite:
                    self._saturate(f"recommend: {configuration.name}", suite, store.pid)
            for configuration in FAST:
                self._fast(configuration, store.target)
            # Once more at the end, so that a machine that became slower shows
            self._echo_full("Recommend")

    def _fast(self, configuration: Configuration, uri: str) -> None:
        if missing := configuration.unsupported():
            self._note(f"{configuration.name} was left out: {missing}")
            return
        with self._suite(configuration, uri) as suite:
            if configuration is ENVOY:
                self._alone(suite, "Envoy")
            self._idle(f"recommend: {configuration.name}", suite)
            self._saturate(f"recommend: {configuration.name}", suite)
            if configuration is ENVOY:
                self._curve(f"recommend: {configuration.name}", suite)

    @contextmanager
    def _suite(self, configuration: Configuration, uri: str) -> Iterator[Suite]:
        """Run a configuration over a store; build the index where there is none."""
        self._say(f"starting: {configuration.name}")
        logs = self._work / "logs" / configuration.name.replace(", ", "-").replace(" ", "-")
        with started(configuration, bundle=self._bundle, milvus_uri=uri, logs=logs) as suite:
            search, embedder = suite.endpoint("SearchMovies"), suite.endpoint("EmbedUsers")
            self._index = build(embedder, search)
            for replica in suite.searches:
                wait_for(replica.target, SEARCH)
            wait_for(suite.gateway.target, RECOMMENDER)
            space = search_space(search)
            self._space_dimension = space.dimension
            self._workload = replace(self._workload, space=space)
            yield suite

    def _alone(self, suite: Suite, host: str) -> None:
        """Measure the embedder without the others."""
        endpoint, pids = suite.endpoint("EmbedUsers"), _named(suite, "embedder")
        self._h2load(f"embed user: {host}", endpoint, "EmbedUsers", pids)
        self._drive(f"embed user: {host}", endpoint, "EmbedUsers", Closed(1), "grpcio", pids)
        batches = replace(self._workload, batch=ratios.BATCH)
        self._h2load(f"embed batch: {host}", endpoint, "EmbedUsers", pids, batches, streams=2)

    def _search_alone(self, suite: Suite) -> None:
        endpoint, pids = suite.endpoint("SearchMovies"), _named(suite, "search")
        self._h2load(f"search: {MILVUS.name}", endpoint, "SearchMovies", pids)
        self._drive(f"search: {MILVUS.name}", endpoint, "SearchMovies", Closed(1), "grpcio", pids)

    def _echoes(self, suite: Suite) -> None:
        """Measure the echo with the suite's own bytes, while the suite does nothing."""
        self._replies = {}
        folder = self._work / "replies"
        folder.mkdir(parents=True, exist_ok=True)
        for method in _ECHOED:
            message = self._workload.messages(method)[0]
            (reply,) = sample(suite.endpoint(method), method, [message])
            self._replies[method] = folder / f"{method}.bin"
            self._replies[method].write_bytes(reply)
        self._echo_full("Recommend", idle=True)
        self._echo_full("EmbedUsers", idle=True)

    def _echo_full(self, method: str, *, idle: bool = False) -> None:
        name = f"echo: {_ECHOED[method]}"
        arguments = [f"--reply={METHODS[each]}={path}" for each, path in self._replies.items()]
        program = Program("echo", "loadtest.bench.echo", free_ports(1)[0], arguments)
        with running(program, self._work / "logs") as echo:
            pids = {"echo": echo.pid}
            if idle:
                self._drive(name, echo.endpoint, method, Closed(1), "grpcio", pids)
                self._drive(name, echo.endpoint, method, Closed(1), "wire", pids)
            self._h2load(name, echo.endpoint, method, pids)

    def _idle(self, name: str, suite: Suite) -> None:
        for client in ("grpcio", "wire"):
            self._drive(name, suite.gateway.endpoint, "Recommend", Closed(1), client, suite.pids)

    def _saturate(self, name: str, suite: Suite, store: int | None = None) -> None:
        pids = suite.pids | ({"milvus": store} if store else {})
        self._h2load(name, suite.gateway.endpoint, "Recommend", pids)

    def _curve(self, name: str, suite: Suite) -> None:
        most = self.results.find(name).per_second
        for share in _CURVE if self._effort.curve else (ratios.SATURATION,):
            pacing = Open(round(share * most))
            self._drive(name, suite.gateway.endpoint, "Recommend", pacing, "wire", suite.pids)

    def _h2load(
        self,
        name: str,
        endpoint: ClientSettings,
        method: str,
        pids: Mapping[str, int],
        workload: Workload | None = None,
        *,
        streams: int = 8,
    ) -> None:
        self._keep(
            h2load.measure(
                endpoint,
                method,
                workload or self._workload,
                name=name,
                streams=streams,
                duration=self._effort.seconds,
                servers=pids,
            )
        )

    def _drive(
        self,
        name: str,
        endpoint: ClientSettings,
        method: str,
        pacing: Pacing,
        client: ClientKind,
        pids: Mapping[str, int],
    ) -> None:
        job = Job(
            {method: endpoint},
            replace(self._workload, mix={method: 1.0}),
            pacing,
            duration=self._effort.seconds,
            warm_up=1.0,
            client=client,
        )
        self._keep(clients.measure(job, name=name, servers=pids))

    def _keep(self, measurement: Measurement) -> None:
        self.results.measurements.append(measurement)
        failed = f", {measurement.failed} FAILED" if measurement.failed else ""
        self._say(
            f"{measurement.name:<36} {measurement.load:>15} {measurement.client:<7}"
            f"{measurement.per_second:>9,.0f}/s  p50 {measurement.percentile_ms(50):7.2f} ms  "
            f"p99 {measurement.percentile_ms(99):7.2f} ms{failed}"
        )

    def _bare(self, *arguments: str) -> None:
        """Measure a floor in a process of its own."""
        self._say(f"bare {arguments[0]}")
        command = [sys.executable, "-m", "loadtest.bench.bare", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise LoadError(f"the bare {arguments[0]} could not be measured: {last}")
        measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        self.results.figures.update(measured)

    def _watch_memory(self, suite: Suite) -> None:
        for name, pid in suite.pids.items():
            self.results.figures[f"{name}_resident_mib"] = round(
                resources.resident_bytes(pid) / 2**20, 1
            )
        if self._effort.memory_calls:
            self._say(f"memory over {self._effort.memory_calls:,} calls")
            slopes = memory.slopes(
                suite.gateway.endpoint, self._workload, suite.pids, self._effort.memory_calls
            )
            for name, slope in slopes.items():
                self.results.figures[f"{name}_mib_per_100k_calls"] = slope

    def _note(self, text: str) -> None:
        self.results.notes.append(text)
        self._say(f"note: {text}")


def _named(suite: Suite, name: str) -> dict[str, int]:
    return {each: pid for each, pid in suite.pids.items() if each.startswith(name)}


__all__ = ["FULL", "QUICK", "Effort", "LaunchError", "Published"]
