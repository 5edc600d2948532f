"""Input and output of one client process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loadtest.histogram import Latencies
from loadtest.load import Load
from loadtest.tally import EncodedTally, MethodTally
from loadtest.workload import Workload
from rpckit.settings.client import ClientSettings


@dataclass(frozen=True, slots=True)
class Job:
    """One process's share of a measurement; crosses processes by pickling."""

    endpoints: Mapping[str, ClientSettings]
    """Client settings for each method of the workload."""
    workload: Workload
    load: Load
    duration: float
    """Measured seconds."""
    warm_up: float
    """Seconds of the same load before them, which are not recorded."""
    connections: int = 1
    """Connections to each address."""
    seed: int = 0

    @property
    def timeout(self) -> float:
        """Budget of a call in seconds."""
        return next(iter(self.endpoints.values())).timeout_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """Measurements of one process."""

    methods: dict[str, EncodedTally]
    lag: str
    """Encoded histogram of how late calls were sent; their latencies include it."""
    cpu_seconds: float
    """CPU that the process itself used while it measured."""


class Recorder:
    """Records the answers of the measured window."""

    def __init__(self, job: Job, begin: float) -> None:
        """Record for a job that begins at `begin` on the clock of `time.perf_counter`."""
        self.first = begin + job.warm_up
        """When measuring begins."""
        self.last = self.first + job.duration
        """When it ends."""
        self.lag = Latencies()
        self._timeout = job.timeout
        self._tallies = {name: MethodTally() for name in job.workload.mix}

    def record_closed(self, method: str, status: int, sent: float, now: float) -> None:
        """Record an answer to a caller who waits for it.

        It counts if it comes in the window, or later than the caller's timeout.
        """
        if self.first <= now < self.last or now - sent > self._timeout:
            self._tallies[method].record(status, now - sent)

    def record_open(self, method: str, status: int, due: float, now: float) -> None:
        """Record an answer to a call of a fixed rate, if the call was due in the window."""
        if self.first <= due < self.last:
            self._tallies[method].record(status, now - due)

    def record_lag(self, due: float, now: float) -> None:
        """Record the time between the due time of a call and its sending."""
        if due >= self.first:
            self.lag.record(now - due)

    def outcome(self, cpu_seconds: float) -> Outcome:
        """Return the recorded measurements."""
        methods = {name: tally.encoded() for name, tally in self._tallies.items()}
        return Outcome(methods, self.lag.encode(), cpu_seconds)


@dataclass(slots=True)
class Requests:
    """The workload's requests, serialised beforehand, in the order of one seed."""

    messages: dict[str, list[bytes]]
    choices: Iterator[tuple[str, int]]

    @classmethod
    def of(cls, job: Job) -> Requests:
        """Serialise the requests of a job."""
        workload = job.workload
        return cls(
            {name: workload.messages(name) for name in workload.mix}, workload.choices(job.seed)
        )

    def next(self) -> tuple[str, bytes]:
        """Return a method and the request to send it."""
        method, which = next(self.choices)
        return method, self.messages[method][which]
