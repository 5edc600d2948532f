"""The published set: all measurements of `make bench`, in one run on one machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest import h2load, machine, resources
from loadtest.bench import credentials, memory, ratios
from loadtest.bench.benchmark import Benchmark, BenchmarkCase
from loadtest.bench.catalogue import MOVIES, index_synthetic_movies
from loadtest.bench.configurations import (
    ENVOY,
    FAST,
    LITE,
    LITE_ONE_BY_ONE,
    MILVUS,
    ONE_BY_ONE,
    SECURED,
    TWO_EMBEDDERS,
    TWO_SEARCHES,
    Configuration,
    default_environment,
    endpoint_of,
    pids_of,
    suite_of,
)
from loadtest.bench.formulas import BATCH, SATURATION, is_in_time
from loadtest.load import ClosedLoop, OpenLoop
from loadtest.measurement import Measurement
from loadtest.results import Results
from loadtest.sampling import sample
from loadtest.scenario import search_space
from loadtest.workload import METHODS, Workload
from suite.milvus_server import milvus_server
from suite.ports import free_ports
from suite.server_process import ServerProcess
from suite.three_services import Suite

_CURVE = (0.2, 0.4, 0.6, SATURATION, 0.8, 0.9)
"""Shares of the peak throughput at which latency is measured."""
_STEPS = 4
"""Steps of the search for the highest rate that is answered in time."""
_ECHOED = {"Recommend": "recommend", "EmbedUsers": "embed user", "SearchMovies": "search"}


@dataclass(frozen=True, slots=True)
class Effort:
    """Duration and extent of the measurements."""

    seconds: float
    """Measured seconds of each load."""
    curve: bool
    """Measure latency at several loads, not at one."""
    everything: bool
    """Measure all configurations, not only those of the checked ratios."""
    memory_calls: int
    """Calls over which memory growth is measured; 0 omits it."""


FULL = Effort(seconds=5.0, curve=True, everything=True, memory_calls=200_000)
QUICK = Effort(seconds=2.0, curve=False, everything=False, memory_calls=0)


class Published:
    """A run of the published set."""

    def __init__(
        self,
        *,
        bundle: Path,
        work: Path,
        milvus_server: Path,
        effort: Effort,
        log: Callable[[str], None],
    ) -> None:
        """Prepare a run.

        Args:
            bundle: Folder of the model bundle.
            work: Folder for stores and logs; old stores in it are deleted.
            milvus_server: The `milvus-server` program; without it, the measurements that need it
                are omitted.
            effort: Duration and extent.
            log: Called with each line of progress.
        """
        self.results = Results("Marquee: published measurements")
        self._bundle = bundle
        self._work = work
        self._server = milvus_server
        self._effort = effort
        self._benchmark = Benchmark(self.results, effort.seconds, log)
        self._workload = Workload()
        self._index, self._dimension = "", 0
        self._replies: dict[str, Path] = {}

    def run(self) -> Results:
        """Measure everything and compute the ratios.

        Raises:
            ProcessError: A process did not start.
            LoadError: A load could not be run, or a call failed.
        """
        begun = time.monotonic()
        h2load.find()
        for store in ("milvus", "lite"):
            shutil.rmtree(self._work / store, ignore_errors=True)
        if (load := machine.load_average()) > 0.5:
            self._benchmark.note(f"the machine was not idle at the start: load average {load:.1f}")
        try:
            self._measure()
        finally:  # keep the measurements before a failure
            self.results.ratios = ratios.compute(self.results)
            self.results.figures["bench_seconds"] = round(time.monotonic() - begun, 1)
        return self.results

    def _measure(self) -> None:
        self._benchmark.measure_floor("predictor", str(self._bundle))
        if self._server.exists():
            self._on_milvus()
        else:
            self._benchmark.note(
                f"no Milvus server at {self._server}: measurements that need one were omitted"
            )
        for configuration in (LITE, LITE_ONE_BY_ONE) if self._effort.everything else ():
            with self._suite(configuration, str(self._work / "lite")) as suite:
                self._recommend(configuration, suite)

    def _on_milvus(self) -> None:
        with milvus_server(self._server, self._work / "milvus") as store:
            with self._suite(MILVUS, store.uri) as suite:
                self._echoes(suite)
                self._alone(suite, "grpcio")
                self._search_alone(suite)
                self._benchmark.measure_floor("milvus", store.uri, self._index)
                self._benchmark.measure_floor("search", str(MOVIES), str(self._dimension))
                self._recommend(MILVUS, suite, store.pid, idle=True, curve=True)
                self._watch_memory(suite)
            with self._suite(ONE_BY_ONE, store.uri) as suite:
                self._recommend(ONE_BY_ONE, suite, store.pid, idle=True)
            for configuration in self._variants():
                with self._suite(configuration, store.uri) as suite:
                    self._recommend(configuration, suite, store.pid)
            for configuration in FAST:
                self._fast(configuration, store.uri)

    def _variants(self) -> list[Configuration]:
        """Return the configurations that are measured at full load only."""
        if not self._effort.everything:
            return []
        files = credentials.create(self._work / "secured")
        return [TWO_EMBEDDERS, TWO_SEARCHES, replace(SECURED, credentials=files)]

    def _fast(self, configuration: Configuration, uri: str) -> None:
        if missing := configuration.unsupported():
            self._benchmark.note(f"{configuration.name} was omitted: {missing}")
            return
        with self._suite(configuration, uri) as suite:
            if configuration is ENVOY:
                self._alone(suite, "Envoy")
            self._recommend(configuration, suite, idle=True, curve=configuration is ENVOY)

    @contextmanager
    def _suite(self, configuration: Configuration, uri: str) -> Iterator[Suite]:
        """Run a configuration on a store; build the index if necessary."""
        self._benchmark.log(f"starting: {configuration.name}")
        logs = self._work / "logs" / configuration.name.replace(", ", "-").replace(" ", "-")
        with suite_of(configuration, bundle=self._bundle, milvus_uri=uri, logs=logs) as suite:
            search = endpoint_of(suite, "SearchMovies")
            self._index = index_synthetic_movies(endpoint_of(suite, "EmbedUsers"), search)
            suite.wait_until_ready()
            space = search_space(search)
            self._dimension = space.dimension
            self._workload = replace(self._workload, space=space)
            yield suite

    def _alone(self, suite: Suite, host: str) -> None:
        """Measure the embedder alone."""
        case = self._case(f"embed user: {host}", suite, "EmbedUsers", "embedder")
        self._beside_echo(case)
        self._benchmark.drive(case, ClosedLoop(1))
        workload = replace(self._workload, batch=BATCH)
        batches = replace(case, name=f"embed batch: {host}", workload=workload)
        self._benchmark.saturate(batches, streams=2)

    def _search_alone(self, suite: Suite) -> None:
        case = self._case(f"search: {MILVUS.name}", suite, "SearchMovies", "search")
        self._benchmark.saturate(case)
        self._benchmark.drive(case, ClosedLoop(1))

    def _echoes(self, suite: Suite) -> None:
        """Measure the echo with replies of the suite, while the suite is idle."""
        folder = self._work / "replies"
        folder.mkdir(parents=True, exist_ok=True)
        for method in _ECHOED:
            message = self._workload.messages(method)[0]
            (reply,) = sample(endpoint_of(suite, method), method, [message])
            self._replies[method] = folder / f"{method}.bin"
            self._replies[method].write_bytes(reply)
            self._echo(method, idle=True)

    def _echo(self, method: str, *, idle: bool = False, full: bool = True) -> None:
        arguments = [f"--reply={METHODS[each]}={path}" for each, path in self._replies.items()]
        server = ServerProcess("echo", "loadtest.bench.echo", free_ports(1)[0], arguments)
        with server.running(default_environment(), log=self._work / "logs" / "echo.log") as echo:
            name, pids = f"echo: {_ECHOED[method]}", {"echo": echo.pid}
            case = BenchmarkCase(name, echo.endpoint, method, self._workload, pids)
            if idle:
                self._benchmark.drive(case, ClosedLoop(1))
            if full:
                self._benchmark.saturate(case)

    def _beside_echo(self, case: BenchmarkCase) -> Measurement:
        """Measure the peak throughput, and right afterwards that of the echo.

        The speed of a shared machine varies by a third between minutes, so only measurements that
        are close in time can be compared.
        """
        most = self._benchmark.saturate(case)
        if case.method in self._replies:
            self._echo(case.method)
        return most

    def _recommend(
        self,
        configuration: Configuration,
        suite: Suite,
        store: int | None = None,
        *,
        idle: bool = False,
        curve: bool = False,
    ) -> None:
        """Measure the whole suite: single caller, full load, then loads in between."""
        case = self._case(f"recommend: {configuration.name}", suite, "Recommend", "")
        if idle:
            self._echo("Recommend", idle=True, full=False)
            self._benchmark.drive(case, ClosedLoop(1))
        pids = {**case.pids, **({"milvus": store} if store else {})}
        most = self._beside_echo(replace(case, pids=pids)).per_second
        if curve:
            for share in _CURVE if self._effort.curve else (SATURATION,):
                self._benchmark.drive(case, OpenLoop(max(1, round(share * most))))
        if configuration is ENVOY:
            self._benchmark.saturate(case, connections=16, streams=16)
            self._find_most_in_time(case, most)

    def _find_most_in_time(self, case: BenchmarkCase, most: float) -> None:
        """Halve the range of rates in which the highest one is that is answered in time."""
        low, high = 0.5 * most, 1.1 * most
        for _ in range(_STEPS):
            rate = (low + high) / 2
            if is_in_time(self._benchmark.drive(case, OpenLoop(max(1, round(rate))))):
                low = rate
            else:
                high = rate

    def _case(self, name: str, suite: Suite, method: str, processes: str) -> BenchmarkCase:
        pids = {each: pid for each, pid in pids_of(suite).items() if each.startswith(processes)}
        return BenchmarkCase(name, endpoint_of(suite, method), method, self._workload, pids)

    def _watch_memory(self, suite: Suite) -> None:
        for name, pid in pids_of(suite).items():
            self.results.figures[f"{name}_resident_mib"] = round(
                resources.resident_bytes(pid) / 2**20, 1
            )
        if self._effort.memory_calls:
            self._benchmark.log(f"memory over {self._effort.memory_calls:,} calls")
            slopes = memory.slopes(
                suite.gateway.endpoint, self._workload, pids_of(suite), self._effort.memory_calls
            )
            for name, slope in slopes.items():
                self.results.figures[f"{name}_mib_per_100k_calls"] = slope
