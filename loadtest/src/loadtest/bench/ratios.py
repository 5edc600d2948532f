"""The list of ratios between figures of one run, with their bounds.

Unlike times, ratios are comparable between machines. Publication, comparison, check and
documentation all use this list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from loadtest.bench.formulas import (
    CALLERS,
    IN_TIME_MS,
    batch_vectors_per_s,
    cost_per_tenfold,
    cpu_vs_echo,
    crowd_vs_echo,
    fastest_vs_echo,
    gain,
    idle_vs_echo,
    idle_vs_floor,
    most_in_time,
    rate,
    rate_vs_echo,
    tail_vs_idle,
)
from loadtest.results import Results


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio between figures of the same run."""

    name: str
    """Its key in a results file."""
    meaning: str
    """Explanation of numerator and denominator."""
    formula: Callable[[Results], float]
    """Raises KeyError if a measurement is missing."""
    better: Literal["more", "less"] = "more"
    aim: float | None = None
    """Value to aim for."""
    accepted: float | None = None
    """Bound of `make bench-check`: generous, for a machine that is not idle."""

    def reaches_aim(self, value: float) -> bool:
        """Return whether a value reaches the aim; without an aim, any does."""
        return self._within(self.aim, value)

    def accepts(self, value: float) -> bool:
        """Return whether the check accepts a value."""
        return self._within(self.accepted, value)

    def bound(self, value: float | None) -> str:
        """Return an aim or an accepted value as a bound, as in `≥ 6`."""
        if value is None:
            return ""
        return f"{'≥' if self.better == 'more' else '≤'} {value:g}"

    def _within(self, bound: float | None, value: float) -> bool:
        return bound is None or (value >= bound if self.better == "more" else value <= bound)


RATIOS: Mapping[str, Ratio] = {
    ratio.name: ratio
    for ratio in (
        Ratio(
            "coalescing_gain",
            "Recommend/s, Milvus answering each batch (`--engine milvus`), by Recommend/s of the "
            "same suite with batches of at most one",
            lambda run: gain(run, "recommend: milvus", "recommend: milvus, max batch 1"),
            aim=6.0,
            accepted=3.0,
        ),
        Ratio(
            "coalescing_gain_lite",
            "the gain of batches on Milvus Lite",
            lambda run: gain(run, "recommend: lite", "recommend: lite, max batch 1"),
        ),
        Ratio(
            "recommend_vs_echo",
            "Recommend/s by the echo's, all on grpc.aio, Milvus answering each batch",
            lambda run: rate_vs_echo(run, "recommend: milvus"),
            aim=0.45,
            accepted=0.2,
        ),
        Ratio(
            "recommend_resident_vs_echo",
            "Recommend/s by the echo's, with the index in memory, as shipped",
            lambda run: rate_vs_echo(run, "recommend: resident"),
        ),
        Ratio(
            "recommend_fastest_vs_echo",
            "Recommend/s by the echo's, in the fastest configuration",
            lambda run: fastest_vs_echo(run, "recommend: "),
            aim=1.3,
            accepted=0.5,
        ),
        Ratio(
            "recommend_256_callers_vs_echo",
            "Recommend/s of 256 callers, index in memory and all on Envoy, by the echo's of 64",
            lambda run: crowd_vs_echo(run, "recommend: resident, all on Envoy"),
        ),
        Ratio(
            "recommend_in_50_ms",
            f"the most Recommend/s of an open loop with p99 ≤ {IN_TIME_MS:.0f} ms, index in memory "
            "and all on Envoy",
            lambda run: most_in_time(run, "recommend: resident, all on Envoy"),
        ),
        Ratio(
            "embedder_vs_echo",
            "EmbedUsers/s of one user, on grpc.aio, by the echo's",
            lambda run: rate_vs_echo(run, "embed user: grpcio", "echo: embed user"),
            aim=0.7,
            accepted=0.5,
        ),
        Ratio(
            "embedder_fastest_vs_echo",
            "EmbedUsers/s of one user by the echo's, in the fastest configuration",
            lambda run: fastest_vs_echo(run, "embed user: ", "echo: embed user"),
            aim=2.5,
            accepted=1.4,
        ),
        Ratio(
            "gateway_cpu_vs_echo",
            "the gateway's CPU of one Recommend by the echo's of one call",
            lambda run: cpu_vs_echo(run, "recommend: milvus", "gateway"),
            better="less",
            aim=1.6,
            accepted=3.0,
        ),
        Ratio(
            "idle_p50_vs_floor",
            "p50 of one caller alone by predictor and search in one process and three round trips "
            "of the echo",
            lambda run: idle_vs_floor(run, "recommend: milvus", "milvus_one_s"),
            better="less",
            aim=1.15,
            accepted=4.0,
        ),
        Ratio(
            "idle_p50_vs_floor_resident",
            "p50 of one caller alone by that floor, with the index in memory",
            lambda run: idle_vs_floor(run, "recommend: resident", "exact_one_s"),
            better="less",
        ),
        Ratio(
            "coalescing_idle_cost",
            "p50 of one caller alone by the same with batches of at most one",
            lambda run: (
                idle_vs_echo(run, "recommend: milvus")
                / idle_vs_echo(run, "recommend: milvus, max batch 1")
            ),
            better="less",
            aim=1.03,
            accepted=1.3,
        ),
        Ratio(
            "p99_at_70_vs_idle_p50",
            "p99 of an open loop at 70 % of the most, by p50 of one caller alone",
            lambda run: tail_vs_idle(run, "recommend: milvus"),
            better="less",
            aim=4.0,
            accepted=20.0,
        ),
        Ratio(
            "p99_at_70_vs_idle_p50_all_envoy",
            "p99 at 70 % of the most by p50 of one caller, index in memory and all on Envoy",
            lambda run: tail_vs_idle(run, "recommend: resident, all on Envoy"),
            better="less",
        ),
        Ratio(
            "embed_batch_vs_predictor",
            "vectors/s in requests of 256 users by those of the bare predictor in one process",
            lambda run: batch_vectors_per_s(run) / run.figures["vectors_per_s_256"],
            aim=0.7,
            accepted=0.07,
        ),
        Ratio(
            "embed_batch_vectors_per_s", "vectors/s in requests of 256 users", batch_vectors_per_s
        ),
        Ratio(
            "search_vs_single",
            "searches/s by pymilvus calls one at a time on the same Milvus",
            lambda run: rate(run, "search: milvus") / run.figures["searches_per_s"],
            aim=8.0,
            accepted=3.0,
        ),
        Ratio(
            "tls_and_tokens_vs_none",
            "Recommend/s with TLS and tokens on every hop, by that without",
            lambda run: gain(run, "recommend: milvus, TLS and tokens", "recommend: milvus"),
        ),
        Ratio(
            "two_embedders_vs_one",
            "Recommend/s with two embedders on the same cores, by that with one",
            lambda run: gain(run, "recommend: milvus, two embedders", "recommend: milvus"),
            aim=1.0,
            accepted=0.75,
        ),
        Ratio(
            "two_searches_vs_one",
            "Recommend/s with two search services on the same cores, by that with one",
            lambda run: gain(run, "recommend: milvus, two searches", "recommend: milvus"),
            aim=1.0,
            accepted=0.75,
        ),
        Ratio(
            "milvus_search_cost_tenfold",
            "CPU of a search on a Milvus server by that in a catalogue of a tenth the size",
            lambda run: cost_per_tenfold(run, "milvus"),
            better="less",
        ),
        Ratio(
            "lite_search_cost_tenfold",
            "CPU of a search in Milvus Lite by that in a catalogue of a tenth the size",
            lambda run: cost_per_tenfold(run, "lite"),
            better="less",
        ),
    )
}
"""By name, in the order in which they are published."""


def compute(results: Results) -> dict[str, float]:
    """Return every ratio whose figures were measured, in the order of `RATIOS`."""
    values: dict[str, float] = {}
    for name, ratio in RATIOS.items():
        try:
            value = ratio.formula(results)
        except (KeyError, ZeroDivisionError):  # not measured in this run, or zero
            continue
        values[name] = round(value, 4 if value < 1000 else 0)
    return values


def failures(results: Results) -> list[str]:
    """Return a line for each ratio that the check rejects and each load with failed calls.

    Calls of an open loop may be refused, and those of more than `CALLERS`.
    """
    lines = [
        f"{each.name} at {each.load}: {each.failed} calls failed"
        for each in results.measurements
        if each.failed and each.concurrency and each.concurrency <= CALLERS
    ]
    for name, value in results.ratios.items():
        ratio = RATIOS.get(name)
        if ratio and not ratio.accepts(value):
            lines.append(f"{name} is {value:.3g}, not {ratio.bound(ratio.accepted)}")
    return lines
