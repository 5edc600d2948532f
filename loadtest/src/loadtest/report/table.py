"""Results on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from loadtest.measurement import Measurement
from loadtest.report.numbers import format_number
from loadtest.results import Results

_LATE_MS = 1.0
"""Lag from which the client did not keep up with its own rate."""


def show(results: Results, console: Console) -> None:
    """Print all results of a run."""
    if results.measurements:
        console.print(measurements(results.measurements))
    if results.figures:
        console.print(numbers("Figures", results.figures))
    if results.ratios:
        console.print(numbers("Ratios", results.ratios))
    for note in results.notes:
        console.print(f"note: {note}", style="dim")


def measurements(measured: Iterable[Measurement]) -> Table:
    """Return a table with a row for each method of each load."""
    table = Table(title="Measured", title_justify="left", box=SIMPLE_HEAD)
    for name in ("name", "method", "load", "client"):
        table.add_column(name, no_wrap=name != "name")
    for name in ("calls/s", "p50 ms", "p90", "p99", "p99.9", "max", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("CPU µs/call")
    for each in measured:
        cpu = ", ".join(f"{name} {each.cpu_us_per_call(name):.0f}" for name in each.cpu_s)
        late = f" (client late: {each.lag_p99_ms:.1f} ms)" if each.lag_p99_ms > _LATE_MS else ""
        for method, result in each.methods.items():
            failed = ", ".join(f"{code} {number}" for code, number in result.failures.items())
            table.add_row(
                each.name,
                method,
                each.load,
                each.client,
                f"{result.calls / each.duration_s:,.0f}",
                *(f"{result.percentiles_ms[p]:.2f}" for p in ("50", "90", "99", "99.9")),
                f"{result.max_ms:.1f}",
                failed or "0",
                cpu + late,
            )
    return table


def numbers(title: str, values: Mapping[str, float]) -> Table:
    """Return a table of names and numbers."""
    table = Table(title=title, title_justify="left", show_header=False, box=SIMPLE_HEAD)
    for name, value in values.items():
        table.add_row(name, format_number(value))
    return table
