"""Summary of a run: its curves, and the capacity of each name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.bench.formulas import closest
from loadtest.measurement import Measurement
from loadtest.results import Results
from loadtest.workload import METHODS

REFUSED_SHARE = 0.01
"""Largest share of failed calls of a load that is sustained."""
_NEAR = 0.95
"""Share of the peak throughput from which more callers add next to nothing."""
_ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Curve:
    """One name under one kind of load, in the order of the load."""

    name: str
    loads: Sequence[Measurement]

    @property
    def is_open(self) -> bool:
        """Whether the loop is open."""
        return self.loads[0].offered_per_s is not None

    @property
    def offered(self) -> list[float]:
        """Calls offered a second, or callers, of each load."""
        return [_offered(each) for each in self.loads]


@dataclass(frozen=True, slots=True)
class Capacity:
    """Load that one name sustains."""

    name: str
    peak: Measurement
    """The sustained load with the highest throughput."""
    echo: Measurement | None
    """The echo under the same load, measured closest in time."""
    single_caller: Measurement | None
    """The load of a single caller."""
    saturating_callers: int | None
    """Number of callers that saturate it; None: not reached."""
    sustained: Measurement | None
    """The highest rate that it sustains."""
    overloaded: Measurement | None
    """The next higher rate, which it does not sustain."""

    @property
    def share_of_echo(self) -> float | None:
        """Its peak throughput divided by that of the echo."""
        return self.peak.per_second / self.echo.per_second if self.echo else None


def curves(measured: Sequence[Measurement]) -> list[Curve]:
    """Return a curve for every name with several loads of one kind by one client.

    Of a repeated load, only the last measurement counts.
    """
    groups: dict[tuple[str, bool, str], dict[float, Measurement]] = {}
    for each in measured:
        key = (each.name, each.offered_per_s is not None, each.client)
        if each.calls:
            groups.setdefault(key, {})[_offered(each)] = each
    return [
        Curve(name, [loads[offered] for offered in sorted(loads)])
        for (name, _, _), loads in groups.items()
        if len(loads) > 1
    ]


def capacities(results: Results) -> list[Capacity]:
    """Return the capacity of each name but the echo, by method, then in order of measurement."""
    names = dict.fromkeys(each.name for each in results.measurements if each.calls)
    found = [_capacity(results, name) for name in names if not name.startswith(_ECHO)]
    place = list(METHODS).index
    return sorted(found, key=lambda each: place(next(iter(each.peak.methods))))


def _capacity(results: Results, name: str) -> Capacity:
    loads = [each for each in results.measurements if each.name == name and each.calls]
    sustained = [each for each in loads if each.failed_share <= REFUSED_SHARE]
    peak = max(sustained or loads, key=lambda each: each.per_second)
    echoes = [
        each
        for each in results.measurements
        if each.name.startswith(_ECHO)
        and each.calls
        and each.load == peak.load
        and each.methods.keys() == peak.methods.keys()
    ]
    rates = sorted((each for each in loads if each.offered_per_s is not None), key=_offered)
    refusing = [each for each in rates if each not in sustained]
    held = [each for each in rates if not refusing or _offered(each) < _offered(refusing[0])]
    closed = next((c for c in curves(loads) if not c.is_open), None)
    return Capacity(
        name,
        peak,
        closest(results, peak, echoes) if echoes else None,
        next((each for each in loads if each.concurrency == 1), None),
        _saturating_callers(closed) if closed else None,
        held[-1] if held else None,
        refusing[0] if refusing else None,
    )


def _saturating_callers(closed: Curve) -> int | None:
    most = max(each.per_second for each in closed.loads)
    loads = closed.loads[:-1]
    return next((each.concurrency for each in loads if each.per_second >= _NEAR * most), None)


def _offered(measurement: Measurement) -> float:
    return measurement.offered_per_s or float(measurement.concurrency or 0)
