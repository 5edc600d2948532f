"""Measure benchmark cases, log each figure and add it to the results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from loadtest import clients, h2load
from loadtest.clients import LoadError
from loadtest.job import Job
from loadtest.load import Load
from loadtest.measurement import Measurement
from loadtest.results import Results
from loadtest.workload import Workload
from rpckit.settings.client import ClientSettings
from suite.parent_death import with_parent_death_signal


@dataclass(frozen=True, slots=True)
class BenchmarkCase:
    """A method of a running server, and the requests to measure it with."""

    name: str
    endpoint: ClientSettings
    method: str
    workload: Workload
    pids: Mapping[str, int]
    """Processes whose CPU is measured, by name."""


class Benchmark:
    """Measures cases for one results file."""

    def __init__(self, results: Results, seconds: float, log: Callable[[str], None]) -> None:
        """Add measurements to `results`.

        Args:
            results: Results to add to.
            seconds: Measured seconds of each load.
            log: Called with each line of progress.
        """
        self._results = results
        self._seconds = seconds
        self.log = log

    def saturate(
        self, case: BenchmarkCase, *, connections: int = 8, streams: int = 8
    ) -> Measurement:
        """Measure a closed loop of `connections` × `streams` callers by h2load.

        Raises:
            LoadError: See `loadtest.h2load.measure`.
        """
        return self._keep(
            h2load.measure(
                case.endpoint,
                case.method,
                case.workload,
                name=case.name,
                connections=connections,
                streams=streams,
                duration=self._seconds,
                servers=case.pids,
            )
        )

    def drive(self, case: BenchmarkCase, load: Load) -> Measurement:
        """Measure a load by the wire client.

        Raises:
            LoadError: See `loadtest.clients.measure`.
        """
        job = Job(
            {case.method: case.endpoint},
            replace(case.workload, mix={case.method: 1.0}),
            load,
            duration=self._seconds,
            warm_up=1.0,
        )
        return self._keep(clients.measure(job, name=case.name, servers=case.pids))

    def measure_floor(self, *arguments: str) -> None:
        """Measure a floor in its own process; see `loadtest.bench.floors`.

        Raises:
            LoadError: It could not be measured.
        """
        self.log(f"floor: {arguments[0]}")
        command = [sys.executable, "-m", "loadtest.bench.floors", *arguments]
        done = subprocess.run(
            with_parent_death_signal(command), capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise LoadError(f"the floor {arguments[0]} could not be measured: {last}")
        measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        self._results.figures.update(measured)

    def note(self, text: str) -> None:
        """Add a note to the results."""
        self._results.notes.append(text)
        self.log(f"note: {text}")

    def _keep(self, measurement: Measurement) -> Measurement:
        self._results.measurements.append(measurement)
        self.log(
            f"{measurement.name:<36} {measurement.load:>15} {measurement.client:<7}"
            f"{measurement.per_second:>9,.0f}/s  p50 {measurement.percentile_ms(50):7.2f} ms  "
            f"p99 {measurement.percentile_ms(99):7.2f} ms"
        )
        if measurement.failed:
            codes = ", ".join(
                f"{number} {code}"
                for each in measurement.methods.values()
                for code, number in each.failures.items()
            )
            self.log(f"{measurement.name} at {measurement.load}: calls failed: {codes}")
        return measurement
