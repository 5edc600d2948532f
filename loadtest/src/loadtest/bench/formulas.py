"""Formulas of the ratios, over the measurements of a run by name.

Each raises KeyError if a measurement that it needs is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from loadtest.measurement import Measurement
from loadtest.results import Results

SATURATION = 0.7
"""Share of the peak throughput at which tail latency is measured."""
CALLERS = 64
"""Callers of the full load; a closed loop of more may exceed what a server admits."""
BATCH = 256
"""Users in one request of the batch measurement."""
IN_TIME_MS = 50.0
"""p99 within which the most Recommend/s is searched for, in milliseconds."""
IN_TIME_FAILED = 0.001
"""Largest share of failed calls at that rate."""

_ECHO = "echo: recommend"


def closest(results: Results, each: Measurement, others: Sequence[Measurement]) -> Measurement:
    """Return the one of `others` that was measured closest in time to a measurement."""
    place = results.measurements.index
    return min(others, key=lambda other: abs(place(other) - place(each)))


def rate(results: Results, name: str) -> float:
    """Return the calls a second at full load."""
    loads = _full(results, name)
    return sum(each.per_second for each in loads) / len(loads)


def rate_vs_echo(results: Results, name: str, echo: str = _ECHO) -> float:
    """Return the calls a second at full load, divided by those of the echo closest in time."""
    loads, echoes = _full(results, name), _full(results, echo)
    ratios = [each.per_second / closest(results, each, echoes).per_second for each in loads]
    return sum(ratios) / len(ratios)


def fastest_vs_echo(results: Results, prefix: str, echo: str = _ECHO) -> float:
    """Return the highest `rate_vs_echo` of all names with a prefix."""
    ratios = []
    for name in {each.name for each in results.measurements if each.name.startswith(prefix)}:
        with suppress(KeyError):
            ratios.append(rate_vs_echo(results, name, echo))
    if not ratios:
        raise KeyError(prefix)
    return max(ratios)


def gain(results: Results, name: str, base: str) -> float:
    """Return the `rate_vs_echo` of one name divided by that of another."""
    return rate_vs_echo(results, name) / rate_vs_echo(results, base)


def cpu_vs_echo(results: Results, name: str, server: str) -> float:
    """Return a server's CPU per call at full load, divided by the echo's."""
    loads, echoes = _full(results, name), _full(results, _ECHO)
    ratios = [
        each.cpu_us_per_call(server) / closest(results, each, echoes).cpu_us_per_call("echo")
        for each in loads
    ]
    return sum(ratios) / len(ratios)


def idle_vs_floor(results: Results, name: str, search: str) -> float:
    """Return p50 of a single caller, divided by the floor of one Recommend.

    The floor is the predictor and the search in one process, and three round trips of the echo.

    Args:
        results: A run.
        name: Name of the measurements.
        search: Name of the figure with the seconds of one search.
    """
    work = results.figures["predict_one_s"] + results.figures[search]
    return _idle(results, name) / (work * 1000 + 3 * _idle_echo(results, name))


def idle_vs_echo(results: Results, name: str) -> float:
    """Return p50 of a single caller, divided by that of the echo."""
    return _idle(results, name) / _idle_echo(results, name)


def tail_vs_idle(results: Results, name: str) -> float:
    """Return p99 of an open loop at 70 % of the peak, divided by p50 of a single caller."""
    wanted = SATURATION * rate(results, name)
    opened = [each for each in results.measurements if each.name == name and each.offered_per_s]
    if not opened:
        raise KeyError(name)
    nearest = min(opened, key=lambda each: abs((each.offered_per_s or 0) - wanted))
    if nearest.failed_share > 0.01:
        raise KeyError(name)  # more than 1 % were refused, so p99 is undefined
    return nearest.percentile_ms(99) / _idle(results, name)


def is_in_time(each: Measurement) -> bool:
    """Return whether a load was answered within `IN_TIME_MS`, all but for `IN_TIME_FAILED`."""
    return each.failed_share <= IN_TIME_FAILED and each.percentile_ms(99) <= IN_TIME_MS


def most_in_time(results: Results, name: str) -> float:
    """Return the most calls a second of an open loop that were answered in time."""
    in_time = [
        each.per_second
        for each in results.measurements
        if each.name == name and each.offered_per_s and each.calls and is_in_time(each)
    ]
    if not in_time:
        raise KeyError(name)
    return max(in_time)


def crowd_vs_echo(results: Results, name: str) -> float:
    """Return the calls a second of more than `CALLERS`, divided by those of the echo."""
    crowds = [
        each
        for each in results.measurements
        if each.name == name and (each.concurrency or 0) > CALLERS
    ]
    if not crowds:
        raise KeyError(name)
    echo = closest(results, crowds[0], _full(results, _ECHO))
    return crowds[0].per_second / echo.per_second


def batch_vectors_per_s(results: Results) -> float:
    """Return the vectors a second in requests of `BATCH` users."""
    return BATCH * rate(results, "embed batch: grpcio")


def cost_per_tenfold(results: Results, store: str) -> float:
    """Return the growth of the CPU per search for a catalogue ten times as large.

    It is taken between the smallest and the largest catalogue, for store and service together.
    """
    prefix = f"search: {store} "
    costs = {}
    for each in results.measurements:
        movies = each.name.removeprefix(prefix).replace(",", "")
        if each.name.startswith(prefix) and movies.isdigit() and (each.concurrency or 0) > 1:
            costs[int(movies)] = sum(each.cpu_us_per_call(server) for server in each.cpu_s)
    if len(costs) < 2:
        raise KeyError(prefix)
    small, large = min(costs), max(costs)
    return float((costs[large] / costs[small]) ** (1 / math.log10(large / small)))


def _full(results: Results, name: str) -> list[Measurement]:
    """Return the closed loops of several callers, `CALLERS` at most, without failures."""
    full = [
        each
        for each in results.measurements
        if each.name == name and 1 < (each.concurrency or 0) <= CALLERS and not each.failed
    ]
    if not full:
        raise KeyError(name)
    return full


def _alone(results: Results, name: str) -> list[Measurement]:
    """Return the loads of a single caller."""
    alone = [
        each
        for each in results.measurements
        if each.name == name and each.concurrency == 1 and each.calls
    ]
    if not alone:
        raise KeyError(name)
    return alone


def _idle(results: Results, name: str) -> float:
    """Return the median latency of a single caller, in milliseconds."""
    return _alone(results, name)[0].percentile_ms(50)


def _idle_echo(results: Results, name: str) -> float:
    """Return the median of the echo under a single caller, measured closest in time."""
    return closest(results, _alone(results, name)[0], _alone(results, _ECHO)).percentile_ms(50)
