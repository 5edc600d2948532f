"""Results as Markdown: the body of docs/performance-results.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from loadtest.bench.ratios import RATIOS
from loadtest.report.numbers import format_number, milliseconds, percent
from loadtest.report.summary import capacities
from loadtest.results import Results

_OVERVIEW = ("", "calls/s", "p99", "of the echo beside it", "p50", "one caller alone, p50")
_RATIOS = ("ratio", "is", "measured", "aim", "accepted by the check")
_LOADS = ("what", "load", "client", "calls/s", "p50 ms", "p99 ms", "failed", "CPU µs a call")


def sections(results: Results) -> str:
    """Return the sections of a run, from overview to notes."""
    machine = ", ".join(f"{name} {fact}" for name, fact in results.machine.items())
    parts = [f"Measured at {results.measured_at}: {machine}."]
    if results.measurements:
        parts += ["## At full load", _table(_OVERVIEW, _overview(results))]
    if results.ratios:
        parts += ["## Ratios", _table(_RATIOS, _ratios(results))]
    if results.measurements:
        parts += ["## All loads", _table(_LOADS, _loads(results))]
    if results.figures:
        rows = ((f"`{name}`", format_number(value)) for name, value in results.figures.items())
        parts += ["## Figures of this machine", _table(("figure", "measured"), rows)]
    if results.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in results.notes)]
    return "\n\n".join(parts) + "\n"


def _overview(results: Results) -> Iterator[Sequence[str]]:
    for each in capacities(results):
        yield (
            each.name,
            f"{each.peak.per_second:,.0f}",
            milliseconds(each.peak.percentile_ms(99)),
            "" if each.share_of_echo is None else percent(each.share_of_echo),
            milliseconds(each.peak.percentile_ms(50)),
            milliseconds(each.single_caller.percentile_ms(50)) if each.single_caller else "",
        )


def _ratios(results: Results) -> Iterator[Sequence[str]]:
    for name, value in results.ratios.items():
        ratio = RATIOS.get(name)
        if ratio is None:  # of another version
            yield f"`{name}`", "", format_number(value), "", ""
            continue
        missed = "" if ratio.reaches_aim(value) else " (missed)"
        bounds = ratio.bound(ratio.aim), ratio.bound(ratio.accepted)
        yield f"`{name}`", ratio.meaning, format_number(value) + missed, *bounds


def _loads(results: Results) -> Iterator[Sequence[str]]:
    for each in results.measurements:
        cpu = ", ".join(f"{name} {each.cpu_us_per_call(name):.0f}" for name in each.cpu_s)
        yield (
            each.name,
            each.load,
            each.client,
            f"{each.per_second:,.0f}",
            f"{each.percentile_ms(50):.2f}",
            f"{each.percentile_ms(99):.2f}",
            str(each.failed) + (f" ({percent(each.failed_share)})" if each.failed else ""),
            cpu,
        )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
