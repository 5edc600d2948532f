"""Line charts as inline SVG; colours and fonts come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 48
COLOURS = 8
"""Classes c0 to c7 of the page's style sheet."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined in their order."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    """What a point says when it is pointed at."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: how a value becomes a place, and which values are written beside it."""

    title: str
    low: float
    high: float
    logarithmic: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    """Values with their words; made where there are none."""

    def place(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        if self.logarithmic:
            low, high, value = (math.log10(each) for each in (self.low, self.high, value))
        else:
            low, high = self.low, self.high
        return (value - low) / ((high - low) or 1)

    def marks(self) -> Sequence[tuple[float, str]]:
        """Return the values to write and their words."""
        if self.ticks:
            return self.ticks
        if not self.logarithmic:
            step = _round_step((self.high - self.low) / 5)
            number = int(self.high / step) + 1
            return [(step * each, f"{step * each:,g}") for each in range(number)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        values = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        return [(v, f"{v:,g}") for v in values if self.low <= v <= self.high]


def around(title: str, values: Iterable[float], *, logarithmic: bool = False) -> Axis:
    """Return an axis that has room for all values; a linear one begins at 0."""
    kept = [each for each in values if not logarithmic or each > 0] or [1.0]
    if logarithmic:
        return Axis(title, min(kept) / 1.2, max(kept) * 1.2, logarithmic=True)
    return Axis(title, 0.0, max(kept) * 1.05 or 1.0)


def chart(lines: Sequence[Line], x: Axis, y: Axis, *, dots: bool) -> str:
    """Return a chart with its legend as an SVG element."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def across(value: float) -> float:
        return _LEFT + x.place(value) * (right - _LEFT)

    def down(value: float) -> float:
        return bottom - y.place(value) * (bottom - _TOP)

    parts = [*_grid(x, y, across, down, right, bottom)]
    for number, line in enumerate(lines):
        parts += _line(line, number % COLOURS, across, down, dots=dots)
    rows = math.ceil(len(lines) / 3)
    for number, line in enumerate(lines):
        left, top = _LEFT + number % 3 * 190, HEIGHT + 12 + number // 3 * 18
        parts.append(
            f'<line class="c{number % COLOURS}" x1="{left}" x2="{left + 18}" y1="{top}" '
            f'y2="{top}"/><text x="{left + 24}" y="{top + 4}">{escape(line.name)}</text>'
        )
    height = HEIGHT + 18 * rows + 6
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(y.title)} by {escape(x.title)}">{"".join(parts)}</svg>'
    )


def _grid(
    x: Axis,
    y: Axis,
    across: Callable[[float], float],
    down: Callable[[float], float],
    right: int,
    bottom: int,
) -> Iterable[str]:
    for value, text in x.marks():
        at = across(value)
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>'
    for value, text in y.marks():
        at = down(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(x.title)}</text>'
    middle = (_TOP + bottom) / 2
    yield (
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>"
    )


def _line(
    line: Line,
    colour: int,
    across: Callable[[float], float],
    down: Callable[[float], float],
    *,
    dots: bool,
) -> Iterable[str]:
    places = [(across(px), down(py)) for px, py in line.points]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
    yield f'<polyline class="c{colour}" points="{path}"/>'
    if not dots:
        return
    labels = line.labels or [""] * len(places)
    for (px, py), label in zip(places, labels, strict=True):
        title = f"<title>{escape(f'{line.name}: {label}')}</title>" if label else ""
        yield f'<circle class="c{colour}" cx="{px:.1f}" cy="{py:.1f}" r="3.5">{title}</circle>'


def _round_step(step: float) -> float:
    """Return the next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step)
