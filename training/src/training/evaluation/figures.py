"""From the values of users to figures with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.evaluation import bootstrap
from training.evaluation.ranking import Ranked
from training.evaluation.rating import Rated
from training.evaluation.results import Cell, Difference

COMPARED = ("ndcg@10", "recall@10")
"""Ranking metrics whose differences from the baselines are given."""


def ranking_cell(ranked: Ranked, baselines: Mapping[str, Ranked]) -> Cell:
    """Return the figures of a ranked slice.

    Args:
        ranked: The lists of the model.
        baselines: Those of the baselines for the same users; empty if the model is one itself.
    """
    columns = {
        metric: values for metric, values in ranked.values.items() if not np.isnan(values).any()
    }
    intervals = bootstrap.of_mean(np.column_stack(list(columns.values())))
    figures = {metric: float(values.mean()) for metric, values in columns.items()}
    return Cell(
        {**figures, "coverage@10": ranked.coverage},
        dict(zip(columns, intervals, strict=True)),
        {name: _ranking_differences(ranked, each) for name, each in baselines.items()},
    )


def rating_cell(rated: Rated, baselines: Mapping[str, Rated]) -> Cell:
    """Return the figures of a rated slice; arguments as for `ranking_cell`."""
    low, high = bootstrap.of_ratio(rated.squared, rated.count)
    return Cell(
        dict(rated.figures()),
        {
            "rmse": (float(np.sqrt(low)), float(np.sqrt(high))),
            "mae": bootstrap.of_ratio(rated.absolute, rated.count),
        },
        {name: {"rmse": _rmse_difference(rated, each)} for name, each in baselines.items()},
    )


def _ranking_differences(model: Ranked, baseline: Ranked) -> dict[str, Difference]:
    gains = [model.values[metric] - baseline.values[metric] for metric in COMPARED]
    intervals = bootstrap.of_mean(np.column_stack(gains))
    return {
        metric: Difference(
            float(gain.mean()),
            interval,
            float(model.values[metric].mean() / baseline.values[metric].mean()),
        )
        for metric, gain, interval in zip(COMPARED, gains, intervals, strict=True)
    }


def _rmse_difference(model: Rated, baseline: Rated) -> Difference:
    ours, theirs = model.figures()["rmse"], baseline.figures()["rmse"]
    interval = bootstrap.of_root_difference(model.squared, baseline.squared, model.count)
    return Difference(ours - theirs, interval, ours / theirs)
