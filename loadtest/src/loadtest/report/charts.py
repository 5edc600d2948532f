"""Line charts as inline SVG, in the colours and fonts of the page's style sheet."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from loadtest.measurement import Measurement
from loadtest.report.numbers import percent
from loadtest.report.summary import REFUSED_SHARE, Curve

_WIDTH, _HEIGHT = 5.0, 5.4
"""Inches of 72 units: the width of a phone's page, so that text keeps its size there."""
_INK, _FAINT, _RULE, _PAPER, _BAD = "#1d2430", "#5d6778", "#e3e7ee", "#fefefe", "#c62f2f"
_SERIES = ("#2f6fc9", "#c2571a", "#1f8a5c", "#a83a6b", "#7650c0", "#8a6a10", "#1d7f90", "#666b73")
_VARIABLES = {
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _RULE: "var(--rule)",
    _PAPER: "var(--paper)",
    _BAD: "var(--bad)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES)},
}
"""Variables of the style sheet for the colours, which differ in dark mode."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,
    "svg.hashsalt": "marquee",  # the same results give the same page
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _FAINT,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.8,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
}
_REWRITES = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"^<svg[^>]*>", ""),
        (r"<metadata>.*?</metadata>", ""),
        (r"<style.*?</style>", ""),
        (r"<clipPath.*?</clipPath>", ""),
        (r' clip-path="[^"]*"', ""),  # nothing is drawn beyond the axes
        (r"<defs>\s*</defs>", ""),
        (r'<g id="curve">', '<g class="curve">'),
        (r'<g id="[^"]*"/>', ""),
        (r'<g id="[^"]*">', "<g>"),
        (r" font-family: [^;]*;", ""),
        (r"\s*\n\s*", "\n"),
    )
)
"""Removes what only a stand-alone SVG file needs."""
_LATENCIES = (50.0, 90.0, 99.0)
_MOST_TAILS = len(_SERIES)
_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def by_load(curve: Curve) -> str:
    """Return latency and throughput of one kind of load, with the share of calls refused."""
    with mpl.rc_context(_STYLE):
        figure, (latency, throughput) = _figure((5, 3))
        _latency(latency, curve)
        _throughput(throughput, curve)
        figure.legend(loc="outside upper left", ncols=3)
        kind = "offered calls a second" if curve.is_open else "callers"
        return _svg(figure, f"{curve.name}: latency and answered calls by {kind}")


def by_percentile(name: str, loads: Sequence[Measurement]) -> str:
    """Return the latency within which each share of the calls was answered, a line for a load."""
    with mpl.rc_context(_STYLE):
        figure, (axes,) = _figure((1,))
        lines = [
            (each.load if len(each.methods) == 1 else f"{method}, {each.load}", result)
            for each in loads
            for method, result in each.methods.items()
            if result.histogram
        ]
        for colour, (label, result) in zip(_SERIES, lines[-_MOST_TAILS:], strict=False):
            curve = [(p, s) for p, s in result.latencies().curve() if p <= _PERCENTS[-1]]
            xs, ys = [_place(p) for p, _ in curve], [seconds * 1000 for _, seconds in curve]
            _line(axes, xs, ys, colour, label)
        axes.set_title("latency, ms")
        axes.set_xlabel("percent of the calls answered within it")
        axes.set_xlim(0, _place(_PERCENTS[-1]))
        axes.xaxis.set_major_locator(FixedLocator([_place(p) for p in _PERCENTS]))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda place, _: f"{100 * (1 - 10**-place):.4g}")
        )
        _logarithmic(axes)
        figure.legend(loc="outside upper left", ncols=3)
        return _svg(figure, f"{name}: latency by percentile")


def _figure(heights: Sequence[int]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(axes[:, 0])


def _latency(axes: Axes, curve: Curve) -> None:
    known = [each for each in _LATENCIES if all(_knows(load, each) for load in curve.loads)]
    for colour, percentile in zip(_SERIES, known, strict=False):
        times = [each.percentile_ms(percentile) for each in curve.loads]
        _line(axes, curve.offered, times, colour, f"p{percentile:g}", curve.loads)
    axes.set_title("latency, ms")
    _logarithmic(axes)
    axes.tick_params(labelbottom=False)


def _throughput(axes: Axes, curve: Curve) -> None:
    offered, answered = curve.offered, [each.per_second for each in curve.loads]
    most = max(answered)
    if curve.is_open:
        most = max(most, offered[-1])
        ends = [0, offered[-1]]
        axes.plot(ends, ends, color=_FAINT, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_title("answered calls a second (dashed: offered)")
        axes.set_xlabel("offered calls a second")
        axes.set_xlim(0, offered[-1] * 1.06)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_title("answered calls a second")
        axes.set_xlabel("callers, each waiting for its answer")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(offered))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_thousands())
    _line(axes, offered, answered, _INK, "_", curve.loads)
    for place, each in zip(zip(offered, answered, strict=True), curve.loads, strict=True):
        if each.failed_share > REFUSED_SHARE:
            axes.annotate(
                percent(each.failed_share),
                place,
                (0, -9),
                textcoords="offset points",
                ha="center",
                va="top",
                color=_BAD,
                weight="bold",
            )
    axes.set_ylim(0, most * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(_thousands())


def _line(
    axes: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    colour: str,
    label: str,
    loads: Iterable[Measurement] = (),
) -> None:
    """Draw a line; with loads also its points, hollow and red if calls were refused."""
    (line,) = axes.plot(xs, ys, color=colour, label=label)
    line.set_gid("curve")
    for x, y, each in zip(xs, ys, loads, strict=False):
        refused = each.failed_share > REFUSED_SHARE
        axes.plot(
            [x],
            [y],
            "o",
            color=_PAPER if refused else colour,
            markeredgecolor=_BAD if refused else colour,
            markeredgewidth=2 if refused else 0,
        )


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    dense = math.log10(high / low) < 2.5
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if dense else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _thousands() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{value:,.0f}")


def _knows(measurement: Measurement, percentile: float) -> bool:
    name = f"{percentile:g}"
    return all(m.histogram or name in m.percentiles_ms for m in measurement.methods.values())


def _place(percent: float) -> float:
    """Return the position of a percentile on an axis where each further nine takes equal space."""
    return -math.log10(1 - percent / 100)


def _svg(figure: Figure, label: str) -> str:
    """Return a figure as an element of a page: the page's own colours and fonts, no identifiers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for pattern, replacement in _REWRITES:
        drawing = pattern.sub(replacement, drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    box = f"0 0 {_WIDTH * 72:g} {figure.get_figheight() * 72:g}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{drawing}'
