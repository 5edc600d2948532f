"""What the figures of one run say about each other, and within which bounds they are expected.

Ratios hold from machine to machine where times do not. docs/performance.md is the reader's page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from loadtest.measurement import Measurement
from loadtest.results import Results

SATURATION = 0.7
"""Share of the most calls a second at which the tail is measured."""
BATCH = 256
"""Users in one request of the batch measurement."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What is aimed at, and what `make bench-check` still accepts."""

    at: Literal["least", "most"]
    aim: float
    accepted: float
    """Generous: for a machine that has other things to do."""

    def accepts(self, value: float) -> bool:
        """Tell whether a ratio is within what is accepted."""
        return value >= self.accepted if self.at == "least" else value <= self.accepted

    def reaches(self, value: float) -> bool:
        """Tell whether a ratio is what is aimed at."""
        return value >= self.aim if self.at == "least" else value <= self.aim


BOUNDS: Mapping[str, Bound] = {
    "coalescing_gain": Bound("least", 6.0, 3.0),
    "recommend_vs_echo": Bound("least", 0.45, 0.2),
    "recommend_fastest_vs_echo": Bound("least", 1.3, 0.5),
    "embedder_fastest_vs_echo": Bound("least", 2.5, 1.4),
    "gateway_cpu_vs_echo": Bound("most", 1.6, 3.0),
    "idle_p50_vs_floor": Bound("most", 1.15, 4.0),
    "coalescing_idle_cost": Bound("most", 1.03, 1.3),
    "p99_at_70_vs_idle_p50": Bound("most", 4.0, 20.0),
    "embedder_vs_echo": Bound("least", 0.7, 0.5),
    "embed_batch_vs_predictor": Bound("least", 0.7, 0.07),
    "search_vs_single": Bound("least", 8.0, 3.0),
    "two_embedders_vs_one": Bound("least", 1.0, 0.75),
    "two_searches_vs_one": Bound("least", 1.0, 0.75),
}
"""By name of ratio; those without a bound are for information."""


def compute(results: Results) -> dict[str, float]:
    """Return every ratio whose figures were measured, in the order of the published table."""
    ratios: dict[str, float] = {}
    for name, formula in _FORMULAS.items():
        try:
            value = formula(results)
        except (KeyError, ZeroDivisionError):  # not measured in this run, or in vain
            continue
        ratios[name] = round(value, 4 if value < 1000 else 0)
    return ratios


def failures(results: Results) -> list[str]:
    """Return a line for each ratio out of its bounds, and for each load with failed calls.

    An open loop may be refused: its bursts are larger than what is admitted.
    """
    lines = [
        f"{each.name} at {each.load}: {each.failed} calls failed"
        for each in results.measurements
        if each.failed and not each.offered_per_s
    ]
    for name, value in results.ratios.items():
        bound = BOUNDS.get(name)
        if bound and not bound.accepts(value):
            lines.append(f"{name} is {value:.3g}, not at {bound.at} {bound.accepted:g}")
    return lines


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


def _rate(results: Results, name: str) -> float:
    """Return the calls per second at full load."""
    full = _full(results, name)
    return sum(each.per_second for each in full) / len(full)


def _beside(results: Results, each: Measurement, others: Sequence[Measurement]) -> Measurement:
    """Return the one of `others` that was measured next to a measurement."""
    place = results.measurements.index
    return min(others, key=lambda other: abs(place(other) - place(each)))


def _vs_echo(results: Results, name: str, echo: str) -> float:
    """Return the calls per second at full load by those of the echo that was measured next."""
    full, echoes = _full(results, name), _full(results, echo)
    ratios = [each.per_second / _beside(results, each, echoes).per_second for each in full]
    return sum(ratios) / len(ratios)


def _recommend(results: Results, name: str) -> float:
    return _vs_echo(results, f"recommend: {name}", "echo: recommend")


def _fastest(results: Results, prefix: str, echo: str) -> float:
    names = {each.name for each in results.measurements if each.name.startswith(prefix)}
    ratios = []
    for name in names:
        with suppress(KeyError):
            ratios.append(_vs_echo(results, name, echo))
    if not ratios:
        raise KeyError(prefix)
    return max(ratios)


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
    """Return the median in milliseconds of one caller alone."""
    return _alone(results, name)[0].percentile_ms(50)


def _idle_echo(results: Results, name: str) -> float:
    """Return the median of the echo alone that was measured next to a load of one caller alone."""
    echoes = _alone(results, "echo: recommend")
    return _beside(results, _alone(results, name)[0], echoes).percentile_ms(50)


def _idle_vs_echo(results: Results, name: str) -> float:
    return _idle(results, name) / _idle_echo(results, name)


def _cpu_vs_echo(results: Results, name: str, server: str) -> float:
    full, echoes = _full(results, name), _full(results, "echo: recommend")
    ratios = [
        each.cpu_us_per_call(server) / _beside(results, each, echoes).cpu_us_per_call("echo")
        for each in full
    ]
    return sum(ratios) / len(ratios)


def _floor(results: Results, name: str, search: str) -> float:
    """Return the least that one Recommend can take, in milliseconds."""
    work = results.figures["predict_one_s"] + results.figures[search]
    return work * 1000 + 3 * _idle_echo(results, name)


def _tail(results: Results, name: str) -> float:
    """Return p99 at 70 % of the most, open loop, by the median of one caller alone."""
    wanted = SATURATION * _rate(results, name)
    opened = [each for each in results.measurements if each.name == name and each.offered_per_s]
    if not opened:
        raise KeyError(name)
    nearest = min(opened, key=lambda each: abs((each.offered_per_s or 0) - wanted))
    if nearest.failed > 0.01 * (nearest.calls + nearest.failed):
        raise KeyError(name)  # one in a hundred was refused, so there is no time for p99
    return nearest.percentile_ms(99) / _idle(results, name)


def _batch_rate(results: Results) -> float:
    return BATCH * _rate(results, "embed batch: grpcio")


_FORMULAS: dict[str, Callable[[Results], float]] = {
    "coalescing_gain": lambda r: _recommend(r, "milvus") / _recommend(r, "milvus, max batch 1"),
    "coalescing_gain_lite": lambda r: _recommend(r, "lite") / _recommend(r, "lite, max batch 1"),
    "recommend_vs_echo": lambda r: _recommend(r, "milvus"),
    "recommend_resident_vs_echo": lambda r: _recommend(r, "resident"),
    "recommend_fastest_vs_echo": lambda r: _fastest(r, "recommend: ", "echo: recommend"),
    "embedder_vs_echo": lambda r: _vs_echo(r, "embed user: grpcio", "echo: embed user"),
    "embedder_fastest_vs_echo": lambda r: _fastest(r, "embed user: ", "echo: embed user"),
    "gateway_cpu_vs_echo": lambda r: _cpu_vs_echo(r, "recommend: milvus", "gateway"),
    "idle_p50_vs_floor": lambda r: (
        _idle(r, "recommend: milvus") / _floor(r, "recommend: milvus", "milvus_one_s")
    ),
    "idle_p50_vs_floor_resident": lambda r: (
        _idle(r, "recommend: resident") / _floor(r, "recommend: resident", "exact_one_s")
    ),
    "coalescing_idle_cost": lambda r: (
        _idle_vs_echo(r, "recommend: milvus") / _idle_vs_echo(r, "recommend: milvus, max batch 1")
    ),
    "p99_at_70_vs_idle_p50": lambda r: _tail(r, "recommend: milvus"),
    "p99_at_70_vs_idle_p50_all_envoy": lambda r: _tail(r, "recommend: resident, all on Envoy"),
    "embed_batch_vs_predictor": lambda r: _batch_rate(r) / r.figures["vectors_per_s_256"],
    "embed_batch_vectors_per_s": _batch_rate,
    "search_vs_single": lambda r: _rate(r, "search: milvus") / r.figures["searches_per_s"],
    "tls_and_tokens_vs_none": lambda r: (
        _recommend(r, "milvus, TLS and tokens") / _recommend(r, "milvus")
    ),
    "two_embedders_vs_one": lambda r: (
        _recommend(r, "milvus, two embedders") / _recommend(r, "milvus")
    ),
    "two_searches_vs_one": lambda r: (
        _recommend(r, "milvus, two searches") / _recommend(r, "milvus")
    ),
}
