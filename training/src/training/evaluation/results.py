"""The figures of a comparison, in the structure of results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.evaluation.bootstrap import Interval

HEADLINE_SPLIT, HEADLINE_RATING_SPLIT, ALL = "random", "ratings", "all"


@dataclass(frozen=True)
class Difference:
    """How much better a model is than a baseline on the same users, in one metric."""

    value: float
    """Figure of the model less that of the baseline."""
    interval: Interval
    """95 % interval of `value`."""
    ratio: float
    """Figure of the model divided by that of the baseline."""


@dataclass(frozen=True)
class Cell:
    """The figures of a model in one slice of a split."""

    figures: dict[str, float]
    """By metric."""
    intervals: dict[str, Interval]
    """95 % intervals by metric; coverage has none."""
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)
    """Of a model that is no baseline: by baseline and metric."""


Table = dict[str, dict[str, dict[str, Cell]]]
"""Cells by model, split and slice."""


@dataclass(frozen=True)
class Results:
    """All figures of a comparison."""

    data: dict[str, object]
    """What was evaluated on: fingerprint and sizes."""
    seed: int
    splits: dict[str, dict[str, object]]
    """Sizes of each split: users, movies, ratings by part, and users by slice."""
    published: Table = field(default_factory=dict)
    """Rankings with the published mask, and predicted ratings."""
    served: Table = field(default_factory=dict)
    """Rankings with the served mask."""
    tried: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By model and split, the figure on validation of each choice that was tried."""
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model and split, how long fitting and tuning took."""

    def headline(self, model: str) -> dict[str, float]:
        """Return the figures of a model that belong into a bundle's manifest.

        Those of all users of the random splits, with the published mask, and the ends of the
        intervals as `ndcg@10_low` and `ndcg@10_high`.
        """
        found: dict[str, float] = {}
        for split in (HEADLINE_SPLIT, HEADLINE_RATING_SPLIT):
            cell = self.published.get(model, {}).get(split, {}).get(ALL)
            if cell is not None:
                found |= cell.figures
                for metric, (low, high) in cell.intervals.items():
                    found |= {f"{metric}_low": low, f"{metric}_high": high}
        return found

    def to_json(self) -> str:
        """Return results.json: `models` with the published mask, apart from it `served_mask`."""
        content = {
            "data": self.data,
            "seed": self.seed,
            "splits": self.splits,
            "models": _plain(self.published),
            "served_mask": {"models": _plain(self.served)},
            "tried": self.tried,
            "seconds": self.seconds,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def write_json(self, path: Path) -> None:
        """Write results.json."""
        path.write_text(self.to_json(), encoding="utf-8")


def _plain(table: Table) -> Mapping[str, object]:
    return {
        model: {
            split: {name: _leaf(cell) for name, cell in cells.items()}
            for split, cells in splits.items()
        }
        for model, splits in table.items()
    }


def _leaf(cell: Cell) -> Mapping[str, object]:
    """Return the figures by metric, and beside them the intervals and the differences, if any."""
    leaf: dict[str, object] = {**cell.figures, "intervals": cell.intervals}
    if cell.differences:
        leaf["differences"] = {
            baseline: {metric: asdict(each) for metric, each in by_metric.items()}
            for baseline, by_metric in cell.differences.items()
        }
    return leaf
