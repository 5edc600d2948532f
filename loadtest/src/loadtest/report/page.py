"""Results as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from loadtest.bench.ratios import RATIOS
from loadtest.measurement import Measurement
from loadtest.report import charts
from loadtest.report.numbers import format_number, milliseconds, percent
from loadtest.report.summary import REFUSED_SHARE, Capacity, Curve, capacities, curves
from loadtest.results import Results

_STYLE = files("loadtest.report").joinpath("page.css").read_text(encoding="utf-8")
_HARDWARE = ("processor", "cpus", "memory")


def page(results: Results) -> str:
    """Return the page as text."""
    found, drawn = capacities(results), curves(results.measurements)
    sections = [
        _head(results),
        _cards(found, drawn),
        _overview(found),
        _ratios(results.ratios),
        _charts(results.measurements, drawn),
        _measurements(results.measurements),
        _figures(results.figures),
        _machine(results.machine),
        _notes(results.notes),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(results.title)}</title>\n<style>\n{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(filter(None, sections))}\n</body></html>\n"
    )


def _head(results: Results) -> str:
    date, _, time = results.measured_at.partition("T")
    facts = [results.machine[fact] for fact in _HARDWARE if fact in results.machine]
    if "cpus" in results.machine:
        facts[_HARDWARE.index("cpus")] += " CPUs"
    on = f" on {escape(', '.join(facts))}" if facts else ""
    return (
        f"<header><h1>{escape(results.title)}</h1>"
        f'<p class="faint">Measured on {escape(date)} at {escape(time[:5])} UTC{on}</p></header>'
    )


def _cards(found: Sequence[Capacity], drawn: Sequence[Curve]) -> str:
    """Return a card for each name with a curve, or for all names if none has one."""
    with_curve = {curve.name for curve in drawn}
    shown = [each for each in found if each.name in with_curve] or found
    return f'<div class="cards">{"".join(map(_card, shown))}</div>' if shown else ""


def _card(capacity: Capacity) -> str:
    most = capacity.peak
    at = "with" if most.concurrency else "at"
    facts = [(f"p99 {at} {escape(most.load)}", milliseconds(most.percentile_ms(99)))]
    if capacity.saturating_callers is not None:
        facts.append(("saturated from", f"{capacity.saturating_callers} callers on"))
    if capacity.sustained is not None:
        p99 = milliseconds(capacity.sustained.percentile_ms(99))
        facts.append((f"p99 at {escape(capacity.sustained.load)} offered", p99))
    if capacity.overloaded is not None:
        share = f'<span class="bad">{percent(capacity.overloaded.failed_share)}</span>'
        facts.append((f"refused or failed at {escape(capacity.overloaded.load)}", share))
    if capacity.single_caller is not None:
        facts.append(
            ("p50 of one caller alone", milliseconds(capacity.single_caller.percentile_ms(50)))
        )
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return (
        f'<section class="card"><h3>{escape(capacity.name)}</h3>'
        f'<div class="most">{most.per_second:,.0f} <small>calls a second at most</small></div>'
        f"{_beside_echo(capacity)}<dl>{rows}</dl></section>"
    )


def _beside_echo(capacity: Capacity) -> str:
    if capacity.share_of_echo is None or capacity.echo is None:
        return ""
    return (
        f"{_bar(capacity.share_of_echo)}"
        f'<div class="faint">{percent(capacity.share_of_echo)} of the echo measured beside it '
        f"({capacity.echo.per_second:,.0f}/s)</div>"
    )


def _overview(found: Sequence[Capacity]) -> str:
    """Return a table of all names, if there are several."""
    if len(found) < 2:
        return ""
    rows = []
    for each in found:
        share = each.share_of_echo
        rows.append(
            (
                escape(each.name),
                f"{each.peak.per_second:,.0f}",
                milliseconds(each.peak.percentile_ms(99)),
                "" if share is None else f"{_bar(share)}<span>{percent(share)}</span>",
                milliseconds(each.peak.percentile_ms(50)),
                milliseconds(each.single_caller.percentile_ms(50)) if each.single_caller else "",
                escape(each.peak.load),
            )
        )
    head = ("", "calls/s", "p99", "of the echo", "p50", "one caller, p50", "load")
    return f"<h2>At full load</h2>{_table(head, rows)}"


def _ratios(values: Mapping[str, float]) -> str:
    if not values:
        return ""
    rows = []
    for name, value in values.items():
        ratio = RATIOS.get(name)
        missed = ratio is not None and not ratio.reaches_aim(value)
        aim = ratio.bound(ratio.aim) if ratio else ""
        rows.append(
            (
                f"{_prose(ratio.meaning) if ratio else ''} {_identifier(name)}",
                format_number(value),
                f'{aim}<div class="bad">missed</div>' if missed else aim,
            )
        )
    return f"<h2>Ratios</h2>{_table(('', 'measured', 'aim'), rows, first='prose')}"


def _charts(measured: Sequence[Measurement], drawn: Sequence[Curve]) -> str:
    """Return each curve by load and by percentile; without curves, each name by percentile."""
    parts = [
        _figures_of(
            f"{curve.name}, {'open' if curve.is_open else 'closed'} loop",
            [charts.by_load(curve), *_tails(curve.name, curve.loads)],
        )
        for curve in drawn
    ]
    if not drawn:
        by_name = sorted(measured, key=lambda each: each.name)
        parts = [
            _figures_of(name, tails)
            for name, loads in groupby(by_name, lambda each: each.name)
            if (tails := _tails(name, [*loads]))
        ]
    if not parts:
        return ""
    red = '<p class="faint">Hollow and red: calls were refused or failed, in this share.</p>'
    refused = any(m.failed_share > REFUSED_SHARE for curve in drawn for m in curve.loads)
    return f"<h2>Curves</h2>{red if refused else ''}{''.join(parts)}"


def _tails(name: str, loads: Sequence[Measurement]) -> list[str]:
    kept = [each for each in loads if each.has_histograms]
    return [charts.by_percentile(name, kept)] if kept else []


def _figures_of(title: str, drawings: Sequence[str]) -> str:
    figures = "".join(f"<figure>{drawing}</figure>" for drawing in drawings)
    return f'<h3>{escape(title)}</h3><div class="charts">{figures}</div>'


def _measurements(measured: Sequence[Measurement]) -> str:
    rows = []
    for each in measured:
        cpu = ", ".join(f"{name} {each.cpu_us_per_call(name):.0f}" for name in each.cpu_s)
        for method, result in each.methods.items():
            failed = ", ".join(f"{code} {n}" for code, n in result.failures.items())
            rows.append(
                (
                    escape(each.name),
                    escape(each.load),
                    escape(method),
                    f"{result.calls / each.duration_s:,.0f}",
                    f"{result.mean_ms:.2f}",
                    *(f"{ms:.2f}" for ms in result.percentiles_ms.values()),
                    f"{result.max_ms:.2f}",
                    f'<span class="bad">{escape(failed)}</span>' if failed else "0",
                    f"{each.lag_p99_ms:.1f}" if each.offered_per_s else "",
                    escape(each.client),
                    escape(cpu),
                )
            )
    if not rows:
        return ""
    percents = next(iter(measured[0].methods.values())).percentiles_ms
    head = ("", "load", "method", "calls/s", "mean ms", *(f"p{each}" for each in percents), "max",
            "failed", "sent late, p99", "client", "CPU µs/call")  # fmt: skip
    return f"<h2>All measurements</h2>{_table(head, rows)}"


def _figures(values: Mapping[str, float]) -> str:
    if not values:
        return ""
    rows = [(escape(name), format_number(value)) for name, value in values.items()]
    return f"<h2>Figures of this machine</h2>{_table(('', 'measured'), rows)}"


def _machine(facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    listed = ", ".join(f"{escape(name)} {escape(fact)}" for name, fact in facts.items())
    return f"<h2>Machine and versions</h2><p>{listed}</p>"


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, first: str = "text") -> str:
    """Return a table of cells that are HTML; the first column is text."""
    columns = [first, *("" for _ in head[1:])]

    def line(tag: str, cells: Sequence[str]) -> str:
        joined = (
            f'<{tag} class="{column}">{cell}</{tag}>' if column else f"<{tag}>{cell}</{tag}>"
            for column, cell in zip(columns, cells, strict=True)
        )
        return f"<tr>{''.join(joined)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        f'<div class="scroll"><table><thead>{line("th", head)}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width: {min(1.0, share):.1%}"></i></span>'


def _prose(text: str) -> str:
    """Return prose with its `code` as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _identifier(name: str) -> str:
    """Return a name that may wrap between its words."""
    return f'<code class="name">{escape(name).replace("_", "_<wbr>")}</code>'
