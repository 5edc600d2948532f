"""The picture of a comparison: accuracy with intervals by split, by slice, and RMSE."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.results import ALL, Cell, Results, Table
from training.evaluation.tables import SLICES, SPLITS, best_first

_MODEL, _BASELINE = "tab:orange", "tab:blue"
_KNOWN = ("nothing_known", "demographics_only", "likes_1", "likes_3", "likes_10", "history_only")
"""Slices in which ever more is known about the same users."""


def draw(results: Results) -> Figure:
    """Return a figure with a panel for each split and mask, and one for the slices."""
    panels = [
        (mask, split)
        for mask, table in (("published mask", results.published), ("served mask", results.served))
        for split in SPLITS
        if _cells(table, split)
    ]
    # Not pyplot, which keeps global figures and looks for a display.
    rows = -(-(len(panels) + 1) // 2)
    figure = Figure(figsize=(14, 4 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    _slices(axes[0], results.published)
    for place, (mask, split) in zip(axes[1:], panels, strict=False):
        table = results.published if mask == "published mask" else results.served
        _forest(place, f"{SPLITS[split]}, {mask}", _cells(table, split))
    for unused in axes[len(panels) + 1 :]:
        unused.set_axis_off()
    return figure


def _cells(table: Table, split: str) -> dict[str, dict[str, Cell]]:
    """Return the cells of a split by model, of those that have a cell of all users."""
    return {name: by[split] for name, by in table.items() if ALL in by.get(split, {})}


def _forest(axes: Axes, title: str, cells: Mapping[str, Mapping[str, Cell]]) -> None:
    """Draw one row for each model: its figure and the 95 % interval."""
    names = best_first(cells)
    metric = "rmse" if "rmse" in cells[names[0]][ALL].figures else "ndcg@10"
    for place, name in enumerate(reversed(names)):
        cell = cells[name][ALL]
        colour = _MODEL if cell.differences else _BASELINE
        figure, (low, high) = cell.figures[metric], cell.intervals[metric]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([figure], [place], "o", color=colour)
        axes.annotate(
            f"{figure:.4f}", (high, place), (6, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_title(title.replace(", published mask", "") if metric == "rmse" else title)
    axes.set_xlabel("RMSE in stars (lower is better)" if metric == "rmse" else "NDCG@10")
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.15)


def _slices(axes: Axes, table: Table) -> None:
    """Draw NDCG@10 by what is known of the users, a line for each model."""
    cells = _cells(table, "random")
    for name in best_first(cells):
        known = [part for part in _KNOWN if part in cells[name]]
        axes.plot(
            [SLICES[part].replace(" ", "\n", 1) for part in known],
            [cells[name][part].figures["ndcg@10"] for part in known],
            "o-",
            label=name,
        )
    axes.set_title("NDCG@10 by what is known of a user, random split, published mask")
    axes.grid(alpha=0.3)
    axes.legend()
