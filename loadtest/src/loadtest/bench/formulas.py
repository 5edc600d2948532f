"""What ratios are made of: figures of a run, found by the names under which it measured them.

Each raises KeyError where what it needs was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from loadtest.measurement import Measurement
from loadtest.results import Results

SATURATION = 0.7
"""Share of the most calls a second at which the tail is measured."""
BATCH = 256
"""Users in one request of the batch measurement."""

_ECHO = "echo: recommend"


def closest(results: Results, each: Measurement, others: Sequence[Measurement]) -> Measurement:
    """Return the one of `others` that was measured next to a measurement."""
    place = results.measurements.index
    return min(others, key=lambda other: abs(place(other) - place(each)))


def rate(results: Results, name: str) -> float:
    """Return the calls a second at full load."""
    loads = _full(results, name)
    return sum(each.per_second for each in loads) / len(loads)


def rate_vs_echo(results: Results, name: str, echo: str = _ECHO) -> float:
    """Return the calls a second at full load, by those of the echo that was measured next."""
    loads, echoes = _full(results, name), _full(results, echo)
    ratios = [each.per_second / closest(results, each, echoes).per_second for each in loads]
    return sum(ratios) / len(ratios)


def fastest_vs_echo(results: Results, prefix: str, echo: str = _ECHO) -> float:
    """Return the most calls a second by the echo's, of all whose names begin with a prefix."""
    ratios = []
    for name in {each.name for each in results.measurements if each.name.startswith(prefix)}:
        with suppress(KeyError):
            ratios.append(rate_vs_echo(results, name, echo))
    if not ratios:
        raise KeyError(prefix)
    return max(ratios)


def gain(results: Results, name: str, base: str) -> float:
    """Return the calls a second of one name by those of another, each as a share of its echo."""
    return rate_vs_echo(results, name) / rate_vs_echo(results, base)


def cpu_vs_echo(results: Results, name: str, server: str) -> float:
    """Return a server's CPU of one call at full load, by the echo's of one."""
    loads, echoes = _full(results, name), _full(results, _ECHO)
    ratios = [
        each.cpu_us_per_call(server) / closest(results, each, echoes).cpu_us_per_call("echo")
        for each in loads
    ]
    return sum(ratios) / len(ratios)


def idle_vs_floor(results: Results, name: str, search: str) -> float:
    """Return p50 of one caller alone, by the least that one Recommend can take.

    That is the predictor and the search in one process, and three round trips of the echo.

    Args:
        results: A run.
        name: What was measured.
        search: The figure that says how long one search takes, in seconds.
    """
    work = results.figures["predict_one_s"] + results.figures[search]
    return _idle(results, name) / (work * 1000 + 3 * _idle_echo(results, name))


def idle_vs_echo(results: Results, name: str) -> float:
    """Return p50 of one caller alone, by that of the echo beside it."""
    return _idle(results, name) / _idle_echo(results, name)


def tail_vs_idle(results: Results, name: str) -> float:
    """Return p99 of an open loop at 70 % of the most, by p50 of one caller alone."""
    wanted = SATURATION * rate(results, name)
    opened = [each for each in results.measurements if each.name == name and each.offered_per_s]
    if not opened:
        raise KeyError(name)
    nearest = min(opened, key=lambda each: abs((each.offered_per_s or 0) - wanted))
    if nearest.failed_share > 0.01:
        raise KeyError(name)  # one in a hundred was refused, so there is no time for p99
    return nearest.percentile_ms(99) / _idle(results, name)


def batch_vectors_per_s(results: Results) -> float:
    """Return the vectors a second in requests of `BATCH` users."""
    return BATCH * rate(results, "embed batch: grpcio")


def cost_per_tenfold(results: Results, store: str) -> float:
    """Return by how much the CPU of a search grows when the catalogue grows tenfold.

    Between the smallest and the largest that were measured; store and service together.
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
    """Return the closed loops of many callers, those without failures."""
    full = [
        each
        for each in results.measurements
        if each.name == name and (each.concurrency or 0) > 1 and not each.failed
    ]
    if not full:
        raise KeyError(name)
    return full


def _alone(results: Results, name: str) -> list[Measurement]:
    """Return the loads of one caller alone."""
    alone = [
        each
        for each in results.measurements
        if each.name == name and each.concurrency == 1 and each.calls
    ]
    if not alone:
        raise KeyError(name)
    return alone


def _idle(results: Results, name: str) -> float:
    """Return the median of one caller alone, in milliseconds."""
    return _alone(results, name)[0].percentile_ms(50)


def _idle_echo(results: Results, name: str) -> float:
    """Return the median of the echo alone that was measured next to a load of one caller alone."""
    return closest(results, _alone(results, name)[0], _alone(results, _ECHO)).percentile_ms(50)
