"""The report of a training run: report.json, report.txt and, with epochs, curves.png."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from training import curves
from training.batches import Split
from training.config import Config
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

_RANKING_LINES = (
    ("ndcg_at_10", "NDCG, with all that is known"),
    ("recall_at_10", "recall, with all that is known"),
    ("ndcg_at_10_demographics_only", "NDCG, of the user, the demographics only"),
    ("ndcg_at_10_nothing_known", "NDCG, of the user, nothing"),
    ("baseline_popularity_ndcg_at_10", "NDCG, baseline: what most people liked"),
)


def write_report(
    folder: Path, result: Result, dataset: Dataset, evaluation: Mapping[str, float]
) -> str:
    """Write the three files of the report into a folder.

    Returns:
        The text of report.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "config": result.config.model_dump(),
        "data": _data(dataset, result.split),
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


def write_ranking_report(
    folder: Path,
    config: Config,
    dataset: Dataset,
    split: Split,
    seconds: float,
    evaluation: Mapping[str, float],
) -> str:
    """Write report.json and report.txt of a run of the ranking objective into a folder.

    Returns:
        The text of report.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "config": config.model_dump(),
        "data": _data(dataset, split),
        "seconds": seconds,
        "evaluation": dict(evaluation),
    }
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    train, ratings = len(split.train) + len(split.validation), len(dataset.ratings)
    lines = [
        f"{len(dataset.users):,} users, {len(dataset.movies):,} movies, {ratings:,} ratings",
        f"train {train:,}, test {len(split.test):,}; {seconds:.1f} seconds",
        "",
        "Of the liked movies among the test ratings, in lists of ten out of the whole catalogue",
    ]
    lines += [f"  {evaluation[key]:6.4f}  {meaning}" for key, meaning in _RANKING_LINES]
    text = "\n".join(lines) + "\n"
    (folder / "report.txt").write_text(text)
    return text


def loading_share(result: Result) -> float:
    """Return the share of the training time that was spent on making batches, 0 to 1."""
    seconds = sum(epoch.seconds for epoch in result.history)
    return sum(epoch.loading_seconds for epoch in result.history) / seconds if seconds else 0.0


def _data(dataset: Dataset, split: Split) -> dict[str, object]:
    return {
        "fingerprint": dataset.fingerprint,
        "users": len(dataset.users),
        "movies": len(dataset.movies),
        "ratings": len(dataset.ratings),
        "skipped_lines": [str(line) for line in dataset.skipped],
        **{name: len(rows) for name, rows in vars(split).items()},
    }


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
