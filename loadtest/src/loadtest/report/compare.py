"""Compare two runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from loadtest.bench.ratios import RATIOS
from loadtest.report.numbers import format_number
from loadtest.results import Results


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two runs."""

    what: str
    figure: str
    before: float
    after: float
    more_is_better: bool | None
    """None: neither direction is better."""

    @property
    def change(self) -> float:
        """Relative change: 0.1 is a tenth more."""
        return self.after / self.before - 1 if self.before else 0.0

    def is_worse(self, by: float) -> bool:
        """Return whether it is worse by more than a share, as in 0.1."""
        if self.more_is_better is None:
            return False
        return (-self.change if self.more_is_better else self.change) > by


def compare(before: Results, after: Results) -> list[Change]:
    """Return the changes of all figures that both runs have, ratios first."""
    return [*_ratios(before, after), *_measurements(before, after)]


def missing(before: Results, after: Results) -> list[str]:
    """Return the names that only one of two runs has."""
    names = [
        {f"{each.name} at {each.load}" for each in run.measurements} | set(run.ratios)
        for run in (before, after)
    ]
    return sorted(names[0] ^ names[1])


def table(changes: list[Change], threshold: float) -> Table:
    """Return a table of changes, with those beyond a threshold, as in 0.1, in colour."""
    shown = Table(title="Changes", title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("what")
    shown.add_column("figure")
    for name in ("before", "after", "change"):
        shown.add_column(name, justify="right")
    for each in changes:
        better = each.more_is_better is not None and abs(each.change) > threshold
        style = "red" if each.is_worse(threshold) else "green" if better else ""
        shown.add_row(
            each.what,
            each.figure,
            format_number(each.before),
            format_number(each.after),
            f"{each.change:+.1%}",
            style=style,
        )
    return shown


def _ratios(before: Results, after: Results) -> Iterator[Change]:
    for name, value in before.ratios.items():
        if name in after.ratios:
            ratio = RATIOS.get(name)
            more = None if ratio is None else ratio.better == "more"
            yield Change("ratio", name, value, after.ratios[name], more)


def _measurements(before: Results, after: Results) -> Iterator[Change]:
    for old in before.measurements:
        try:
            new = after.find(old.name, old.load)
        except KeyError:
            continue
        what = f"{old.name} at {old.load}"
        closed = old.offered_per_s is None
        yield Change(what, "calls/s", old.per_second, new.per_second, True if closed else None)
        if old.calls and new.calls:
            for percent in (50.0, 99.0):
                yield Change(
                    what,
                    f"p{percent:g} ms",
                    old.percentile_ms(percent),
                    new.percentile_ms(percent),
                    more_is_better=False,
                )
        for server in old.cpu_s:
            if server in new.cpu_s:
                yield Change(
                    what,
                    f"{server} CPU µs/call",
                    old.cpu_us_per_call(server),
                    new.cpu_us_per_call(server),
                    more_is_better=False,
                )
