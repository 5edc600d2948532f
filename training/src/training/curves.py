"""The picture of a training run: RMSE by epoch, against the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.checkpoint import Epoch

_BASELINES = {
    "baseline_global_mean": "mean of all ratings",
    "baseline_item_mean": "mean of the movie",
    "baseline_biases": "biases of user and movie",
}
_TRAIN, _VALIDATION, _BASELINE = "tab:blue", "tab:orange", "dimgray"
_LABEL_GAP = 0.05
"""Smallest distance between two labels, as a share of the height of the panel."""


def draw(history: Sequence[Epoch], best_epoch: int, evaluation: Mapping[str, float]) -> Figure:
    """Return a figure of 1000 × 600 pixels.

    Args:
        history: Figures of each epoch.
        best_epoch: Index of the best epoch in `history`.
        evaluation: Figures of the evaluation, which have those of the baselines.
    """
    # Not pyplot, which keeps global figures and looks for a display.
    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("RMSE in stars by epoch (lower is better)", fontsize=15)
    axes = figure.subplots()
    epochs = range(1, len(history) + 1)
    train = [epoch.train_rmse for epoch in history]
    validation = [epoch.validation_rmse for epoch in history]
    axes.plot(epochs, train, "o-", color=_TRAIN, label="train, attributes hidden at random")
    axes.plot(epochs, validation, "o-", color=_VALIDATION, label="validation, all attributes known")
    axes.set_title(
        "Do not compare train with validation: hidden attributes make training harder.",
        fontsize=11,
    )
    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel("RMSE", fontsize=12)
    axes.set_xlim(0.5, len(history) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    _mark_best(axes, best_epoch + 1, validation[best_epoch])
    _draw_baselines(axes, {label: evaluation[name] for name, label in _BASELINES.items()})
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _mark_best(axes: Axes, epoch: int, rmse: float) -> None:
    """Mark the epoch whose parameters are kept."""
    axes.axvline(epoch, color=_VALIDATION, linestyle=":", zorder=1)
    axes.plot(
        [epoch],
        [rmse],
        "*",
        color=_VALIDATION,
        markersize=18,
        markeredgecolor="black",
        linestyle="none",
        label=f"best epoch: {epoch}, validation {rmse:.4f}",
        zorder=3,
    )


def _draw_baselines(axes: Axes, baselines: Mapping[str, float]) -> None:
    """Draw dashed lines, and say at their right ends what they are; labels never overlap."""
    for rmse in baselines.values():
        axes.axhline(rmse, color=_BASELINE, linestyle="--", linewidth=1.2, zorder=1)
    low, high = axes.get_ylim()
    place = -math.inf
    for label, rmse in sorted(baselines.items(), key=lambda item: item[1]):
        place = max(rmse, place + _LABEL_GAP * (high - low))
        axes.annotate(
            f"{label}: {rmse:.4f}",
            xy=(1.01, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            color=_BASELINE,
        )
    axes.annotate(
        "baselines, on the test ratings",
        xy=(1.01, 1.0),
        xycoords="axes fraction",
        va="bottom",
        weight="bold",
        color=_BASELINE,
    )
