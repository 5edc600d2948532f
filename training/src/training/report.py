"""The report of a training run: report.json, report.txt and curves.png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from training import curves
from training.movielens import Dataset
from training.train import Result

_LINES = (
    ("rmse", "all that is known"),
    ("rmse_id_only", "of the user, the id only"),
    ("rmse_demographics_only", "of the user, the demographics only"),
    ("rmse_nothing_known", "of the user, nothing"),
    ("rmse_new_movies", "of the movie, title and genres only"),
    ("baseline_item_mean", "baseline: mean of the movie"),
    ("baseline_biases", "baseline: biases of user and movie"),
    ("baseline_global_mean", "baseline: mean of all ratings"),
)


def write_report(
    folder: Path, result: Result, dataset: Dataset, evaluation: Mapping[str, float]
) -> str:
    """Write the three files of the report into a folder.

    Returns:
        The text of report.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    split = {name: len(rows) for name, rows in vars(result.split).items()}
    content = {
        "config": result.config.model_dump(),
        "data": {
            "fingerprint": dataset.fingerprint,
            "users": len(dataset.users),
            "movies": len(dataset.movies),
            "ratings": len(dataset.ratings),
            "skipped_lines": [str(line) for line in dataset.skipped],
            **split,
        },
        "best_epoch": result.best_epoch + 1,
        "seconds": sum(epoch.seconds for epoch in result.history),
        "loading_share": loading_share(result),
        "history": [asdict(epoch) for epoch in result.history],
        "evaluation": dict(evaluation),
    }
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    text = _text(result, dataset, evaluation)
    (folder / "report.txt").write_text(text)
    curves.draw(result.history, result.best_epoch, evaluation).savefig(folder / "curves.png")
    return text


def loading_share(result: Result) -> float:
    """Return the share of the training time that was spent on making batches, 0 to 1."""
    seconds = sum(epoch.seconds for epoch in result.history)
    return sum(epoch.loading_seconds for epoch in result.history) / seconds if seconds else 0.0


def _text(result: Result, dataset: Dataset, evaluation: Mapping[str, float]) -> str:
    split, ratings = result.split, len(dataset.ratings)
    lines = [
        f"{len(dataset.users):,} users, {len(dataset.movies):,} movies, {ratings:,} ratings",
        f"train {len(split.train):,}, validate {len(split.validation):,}, test {len(split.test):,}",
        "",
        "epoch   train   validation   seconds   of these, loading",
    ]
    for number, epoch in enumerate(result.history, start=1):
        mark = "  best" if number == result.best_epoch + 1 else ""
        lines.append(
            f"{number:5d}  {epoch.train_rmse:6.4f}   {epoch.validation_rmse:10.4f}   "
            f"{epoch.seconds:7.1f}   {epoch.loading_seconds / epoch.seconds:17.1%}{mark}"
        )
    lines += ["", f"Making batches took {loading_share(result):.1%} of the time."]
    lines += ["", "RMSE on the test ratings, in stars"]
    lines += [f"  {evaluation[key]:6.4f}  {meaning}" for key, meaning in _LINES]
    return "\n".join(lines) + "\n"
