"""The tables of a report, and their text in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.results import ALL, Cell, Results

SLICES = {
    "all": "all that is known",
    "heavy": "longest quarter of histories",
    "light": "shortest quarter",
    "history_only": "history only",
    "demographics_only": "demographics only",
    "nothing_known": "nothing known",
    "likes_1": "1 like shown",
    "likes_3": "3 likes shown",
    "likes_10": "10 likes shown",
    "new_users": "new users, demographics only",
}
"""Titles of the slices, in the order of the tables."""
SPLITS = {
    "random": "random 8:1:1 per user",
    "recbole": "random 8:1:1 per user, rounded as RecBole rounds",
    "time": "by time",
    "ratings": "all ratings, random 90:10",
    "ratings_time": "all ratings, by time",
}
"""Titles of the splits, in the order of the tables."""
_ACCURACY = ("ndcg@10", "recall@10", "recall@20", "hr@10", "mrr@10")
_CONTENT = ("coverage@10", "novelty@10", "diversity@10", "miscalibration@10")


@dataclass(frozen=True)
class Grid:
    """One table."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of each row is its name."""


def grids(results: Results) -> list[Grid]:
    """Return the tables: of each split with the published mask, then with the served mask."""
    found = []
    for mask, table in (("published", results.published), ("served", results.served)):
        for split, title in SPLITS.items():
            cells = {name: by[split] for name, by in table.items() if split in by}
            if cells:
                found += _of_split(f"{title}, {mask} mask", cells)
    return [each for each in found if each.rows]


def markdown(results: Results) -> str:
    """Return all tables as Markdown, aligned for a terminal as well."""
    parts = [f"# {summary(results)}"]
    for grid in grids(results):
        parts += [f"## {grid.title}", "\n".join(_lines(grid))]
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """Return what was evaluated, in one line."""
    counts = ", ".join(f"{results.data[name]:,} {name}" for name in ("users", "movies", "ratings"))
    return f"Evaluation on {counts} (data {results.data['fingerprint']}, seed {results.seed})"


def best_first(cells: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """Return the names of the models in a split, the best one first."""

    def key(name: str) -> float:
        figures = _first(cells[name]).figures
        return -figures["ndcg@10"] if "ndcg@10" in figures else figures["rmse"]

    return sorted(cells, key=key)


def _of_split(title: str, cells: Mapping[str, Mapping[str, Cell]]) -> list[Grid]:
    names = best_first(cells)
    if "rmse" in _first(cells[names[0]]).figures:
        title = title.replace(", published mask", "")  # there is nothing to mask
        return [_rmse(title, cells, names), _differences(title, cells, names, "rmse")]
    return [
        _metrics(title, cells, names),
        _by_slice(title, cells, names),
        _differences(title, cells, names, "ndcg@10"),
    ]


def _metrics(title: str, cells: Mapping[str, Mapping[str, Cell]], names: Sequence[str]) -> Grid:
    head = ("NDCG@10", "95 % interval", "Recall@10", "Recall@20", "HR@10", "MRR@10")
    rows = []
    for name in names:
        cell = _first(cells[name])
        accuracy = [f"{cell.figures[metric]:.4f}" for metric in _ACCURACY]
        content = [
            f"{cell.figures[metric]:.3f}" if metric in cell.figures else "" for metric in _CONTENT
        ]
        rows.append((name, accuracy[0], _interval(cell, "ndcg@10"), *accuracy[1:], *content))
    return Grid(title, ("", *head, "coverage", "novelty", "diversity", "miscalibration"), rows)


def _by_slice(title: str, cells: Mapping[str, Mapping[str, Cell]], names: Sequence[str]) -> Grid:
    parts = [part for part in SLICES if part in cells[names[0]]]
    rows = [
        (SLICES[part], *(f"{cells[name][part].figures['ndcg@10']:.4f}" for name in names))
        for part in parts
        if len(parts) > 1
    ]
    return Grid(f"NDCG@10 by slice: {title}", ("", *names), rows)


def _rmse(title: str, cells: Mapping[str, Mapping[str, Cell]], names: Sequence[str]) -> Grid:
    parts = [part for part in SLICES if part in cells[names[0]]]
    rows = []
    for name in names:
        first = _first(cells[name])
        rows.append(
            (
                name,
                f"{first.figures['rmse']:.4f}",
                _interval(first, "rmse"),
                f"{first.figures['mae']:.4f}",
                *(f"{cells[name][part].figures['rmse']:.4f}" for part in parts[1:]),
            )
        )
    return Grid(
        title,
        ("", "RMSE", "95 % interval", "MAE", *(f"RMSE, {SLICES[part]}" for part in parts[1:])),
        rows,
    )


def _differences(
    title: str, cells: Mapping[str, Mapping[str, Cell]], names: Sequence[str], metric: str
) -> Grid:
    rows = []
    for name in names:
        for baseline, by_metric in _first(cells[name]).differences.items():
            found = by_metric[metric]
            low, high = found.interval
            rows.append(
                (
                    f"{name} less {baseline}",
                    f"{found.value:+.4f}",
                    f"{low:+.4f} to {high:+.4f}",
                    f"{found.ratio:.3f}",
                )
            )
    label = metric.upper()
    return Grid(
        f"{label}, paired differences: {title}", ("", label, "95 % interval", "ratio"), rows
    )


def _first(cells: Mapping[str, Cell]) -> Cell:
    """Return the cell of all users; where no user has a history, that of the new ones."""
    return cells.get(ALL) or next(iter(cells.values()))


def _interval(cell: Cell, metric: str) -> str:
    low, high = cell.intervals[metric]
    return f"{low:.4f} to {high:.4f}"


def _lines(grid: Grid) -> Iterable[str]:
    table = [grid.head, *grid.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        first, *others = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"| {' | '.join((first, *others))} |"
        if number == 0:
            rules = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
            yield f"| {' | '.join(rules)} |"
