"""Results as Markdown tables, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadtest.bench.ratios import RATIOS
from loadtest.results import Results


def tables(results: Results) -> str:
    """Return the machine, ratios, measurements and figures of a run."""
    parts = [
        f"Measured at {results.measured_at}: "
        + ", ".join(f"{name} {fact}" for name, fact in results.machine.items())
        + ".",
        *(f"Note: {note}." for note in results.notes),
    ]
    if results.ratios:
        parts.append(
            _table(("ratio", "is", "measured", "aim", "accepted by the check"), _ratios(results))
        )
    if results.measurements:
        head = ("what", "load", "client", "calls/s", "p50 ms", "p99 ms", "failed", "CPU µs a call")
        parts.append(_table(head, _measurements(results)))
    if results.figures:
        rows = ((name, _number(value)) for name, value in results.figures.items())
        parts.append(_table(("figure", "measured"), rows))
    return "\n\n".join(parts) + "\n"


def _ratios(results: Results) -> Iterator[tuple[str, ...]]:
    for name, value in results.ratios.items():
        ratio = RATIOS.get(name)
        if ratio is None:  # of another version
            yield f"`{name}`", "", _number(value), "", ""
            continue
        missed = "" if ratio.reaches_aim(value) else " (missed)"
        bounds = ratio.bound(ratio.aim), ratio.bound(ratio.accepted)
        yield f"`{name}`", ratio.meaning, _number(value) + missed, *bounds


def _measurements(results: Results) -> Iterator[tuple[str, ...]]:
    for each in results.measurements:
        cpu = ", ".join(f"{name} {each.cpu_us_per_call(name):.0f}" for name in each.cpu_s)
        yield (
            each.name,
            each.load,
            each.client,
            f"{each.per_second:,.0f}",
            f"{each.percentile_ms(50):.2f}",
            f"{each.percentile_ms(99):.2f}",
            str(each.failed),
            cpu,
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
