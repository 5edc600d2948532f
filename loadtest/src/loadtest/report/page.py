"""Results as one HTML page that needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from loadtest.measurement import Measurement
from loadtest.report.svg import Axis, Line, around, chart
from loadtest.results import Results

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --faint: #8a94a6; --rule: #e3e7ee }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14181f; --faint: #8a94a6; --rule: #2b323d }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1340px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
p, dl { color: var(--faint) } dl { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem }
dt { display: inline } dd { display: inline; margin: 0; color: var(--ink) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap }
th:first-child, td:first-child, .text { text-align: left } td.bad { color: #d33 }
.scroll { overflow-x: auto }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.5rem }
figure { margin: 0 } figcaption { font-weight: 600 }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif } svg text { fill: var(--faint) }
svg line, svg polyline { stroke-width: 2; fill: none }
svg .grid { stroke: var(--rule); stroke-width: 1 }
.c0 { stroke: #3b7dd8; fill: #3b7dd8 } .c1 { stroke: #e07b39; fill: #e07b39 }
.c2 { stroke: #2f9e6e; fill: #2f9e6e } .c3 { stroke: #c0497d; fill: #c0497d }
.c4 { stroke: #8a63d2; fill: #8a63d2 } .c5 { stroke: #b08a1e; fill: #b08a1e }
.c6 { stroke: #2a9db0; fill: #2a9db0 } .c7 { stroke: #7a7f87; fill: #7a7f87 }
"""
_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def page(results: Results) -> str:
    """Return the page as text."""
    sections = [
        f"<h1>{escape(results.title)}</h1>",
        f"<p>Measured at {escape(results.measured_at)}.</p>",
        _facts(results.machine),
        *(f"<p>{escape(note)}</p>" for note in results.notes),
        _numbers("Ratios", results.ratios),
        _curves(results.measurements),
        _percentiles(results.measurements),
        _table(results.measurements),
        _numbers("Figures of this machine", results.figures),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(results.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(filter(None, sections))}\n</body></html>\n"
    )


def _facts(facts: Mapping[str, str]) -> str:
    items = (f"<div><dt>{escape(k)}</dt> <dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f"<dl>{''.join(items)}</dl>"


def _numbers(title: str, values: Mapping[str, float]) -> str:
    if not values:
        return ""
    rows = (
        f"<tr><td>{escape(name)}</td><td>{f'{v:,.0f}' if abs(v) >= 1000 else f'{v:.3g}'}</td></tr>"
        for name, v in values.items()
    )
    return f"<h2>{escape(title)}</h2><table>{''.join(rows)}</table>"


def _curves(measured: Sequence[Measurement]) -> str:
    """Return latency by load, a chart for each name that was measured at several loads."""
    figures = []
    for name, each in groupby(sorted(measured, key=_name), key=_name):
        loads = sorted((m for m in each if m.calls), key=lambda m: m.per_second)
        if len({m.load for m in loads}) < 2:
            continue
        lines = [
            Line(
                f"p{percent:g}",
                [(m.per_second, m.percentile_ms(percent)) for m in loads],
                [f"{m.load}: {m.percentile_ms(percent):.2f} ms" for m in loads],
            )
            for percent in (50.0, 90.0, 99.0)
        ]
        x = around("calls per second", (m.per_second for m in loads))
        heights = (height for line in lines for _, height in line.points)
        y = around("milliseconds", heights, logarithmic=True)
        figures.append(_figure(name, chart(lines, x, y, dots=True)))
    return _charts("Latency by load", figures)


def _percentiles(measured: Sequence[Measurement]) -> str:
    """Return the latencies at each percentile, a chart for each name, a line for each load."""
    figures = []
    for name, each in groupby(sorted(measured, key=_name), key=_name):
        lines = [
            Line(f"{m.load}" if len(m.methods) == 1 else f"{method}, {m.load}", points)
            for m in each
            for method, result in m.methods.items()
            if (points := _tail(result.latencies().curve()))
        ]
        if not lines:
            continue
        x = Axis(
            "percent of calls", 0.0, _place(99.99), ticks=[(_place(p), f"{p:g}") for p in _PERCENTS]
        )
        heights = (height for line in lines for _, height in line.points)
        y = around("milliseconds", heights, logarithmic=True)
        figures.append(_figure(name, chart(lines, x, y, dots=False)))
    return _charts("Latency by percentile", figures)


def _tail(curve: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(_place(p), seconds * 1000) for p, seconds in curve if p <= _PERCENTS[-1]]


def _place(percent: float) -> float:
    """Return where a percent is on an axis on which each further nine takes the same room."""
    return -math.log10(1 - percent / 100)


def _table(measured: Sequence[Measurement]) -> str:
    if not measured:
        return ""
    head = "".join(
        f"<th>{name}</th>"
        for name in ("name", "load", "method", "calls/s", "mean ms", "p50", "p90", "p95", "p99",
                     "p99.9", "max", "failed", "client", "CPU µs/call")
    )  # fmt: skip
    rows = []
    for each in measured:
        cpu = ", ".join(f"{name} {each.cpu_us_per_call(name):.0f}" for name in each.cpu_s)
        for method, result in each.methods.items():
            times = (result.mean_ms, *result.percentiles_ms.values(), result.max_ms)
            failed = ", ".join(f"{code} {n}" for code, n in result.failures.items())
            rows.append(
                f"<tr><td>{escape(each.name)}</td><td>{escape(each.load)}</td>"
                f'<td class="text">{escape(method)}</td>'
                f"<td>{result.calls / each.duration_s:,.0f}</td>"
                + "".join(f"<td>{ms:.2f}</td>" for ms in times)
                + f'<td class="{"bad" if failed else ""}">{escape(failed) or 0}</td>'
                f"<td>{escape(each.client)}</td><td>{escape(cpu)}</td></tr>"
            )
    return (
        '<h2>All measurements</h2><div class="scroll"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _charts(title: str, figures: Sequence[str]) -> str:
    if not figures:
        return ""
    return f'<h2>{escape(title)}</h2><div class="charts">{"".join(figures)}</div>'


def _figure(name: str, drawing: str) -> str:
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawing}</figure>"


def _name(measurement: Measurement) -> str:
    return measurement.name
