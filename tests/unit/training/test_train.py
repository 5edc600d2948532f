from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from training import checkpoint
from training.batches import Batch, Batches
from training.config import Config
from training.errors import TrainingError
from training.evaluate import predict, rmse
from training.movielens import Dataset
from training.train import CHECKPOINT, Result, embed, fit

Figures = list[tuple[float, float]]


class Killed(BaseException):
    """Stands for a signal: nothing may catch it."""


def figures(result: Result) -> Figures:
    return [(epoch.train_rmse, epoch.validation_rmse) for epoch in result.history]


def parameters(result: Result) -> list[np.ndarray]:
    return list(checkpoint.arrays(result.model).values())


def validation_rmse(result: Result, dataset: Dataset) -> float:
    users = embed(result.model.user, result.encoder.users(dataset.users).features)
    movies = embed(result.model.movie, result.encoder.movies(dataset.movies).features)
    rows = result.split.validation
    return rmse(dataset.ratings, rows, predict(users, movies, dataset.ratings, rows, 5.0))


def test_two_runs_with_the_same_choices_end_with_the_same_bits(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    first, second = (
        fit(tiny, tiny_dataset, tmp_path / name, progress=False) for name in ("a", "b")
    )
    assert figures(first) == figures(second)
    for ours, theirs in zip(parameters(first), parameters(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = fit(tiny.model_copy(update={"seed": 2}), tiny_dataset, tmp_path / "c", progress=False)
    assert figures(first) != figures(other)


@pytest.mark.parametrize("step", [2, 5, 6, 7, 13, 18])
def test_a_run_killed_at_any_step_and_resumed_ends_with_the_same_figures(
    tiny: Config,
    tiny_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    whole = fit(tiny, tiny_dataset, tmp_path / "whole", progress=False)

    get, calls = Batches.get, itertools.count(1)

    def get_until_killed(self: Batches, epoch: int, at: int) -> Batch:
        if next(calls) == step:
            raise Killed
        return get(self, epoch, at)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "get", get_until_killed)
        with pytest.raises(Killed):
            fit(tiny, tiny_dataset, tmp_path / "killed", progress=False)
    resumed = fit(tiny, tiny_dataset, tmp_path / "killed", resume=True, progress=False)
    assert figures(resumed) == figures(whole)
    for ours, theirs in zip(parameters(resumed), parameters(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_had_ended_is_not_trained_further(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    ended = fit(tiny, tiny_dataset, tmp_path, progress=False)
    again = fit(tiny, tiny_dataset, tmp_path, resume=True, progress=False)
    assert figures(again) == figures(ended)
    assert len(again.history) == tiny.epochs


def test_training_stops_when_validation_does_not_get_better_and_keeps_the_best_epoch(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny.model_copy(
        update={"epochs": 200, "patience": 2, "learning_rate": 0.05, "weight_decay": 0.0}
    )
    result = fit(config, tiny_dataset, tmp_path, progress=False)
    scores = [epoch.validation_rmse for epoch in result.history]
    assert len(scores) < 200
    assert result.best_epoch == len(scores) - 3 == int(np.argmin(scores))
    assert validation_rmse(result, tiny_dataset) == pytest.approx(min(scores), abs=1e-6)


def test_a_checkpoint_of_other_choices_or_other_data_is_refused(
    tiny: Config, tiny_dataset: Dataset, dataset: Dataset, tmp_path: Path
) -> None:
    fit(tiny, tiny_dataset, tmp_path, progress=False)
    other = tiny.model_copy(update={"learning_rate": 0.5, "seed": 9})
    with pytest.raises(TrainingError, match="another learning_rate, seed;"):
        fit(other, tiny_dataset, tmp_path, resume=True, progress=False)
    with pytest.raises(TrainingError, match="another data;"):
        fit(tiny, dataset, tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no zip"])
def test_a_damaged_checkpoint_is_refused(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(TrainingError, match=r"checkpoint\.npz cannot be read as a checkpoint"):
        fit(tiny, tiny_dataset, tmp_path, resume=True, progress=False)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = fit(tiny, tiny_dataset, tmp_path, progress=False)
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 cut")
    resumed = fit(tiny, tiny_dataset, tmp_path, resume=True, progress=False)
    assert "The one before it takes its place." in caplog.text
    assert [epoch.validation_rmse for epoch in resumed.history] == [
        epoch.validation_rmse for epoch in whole.history
    ]


def test_without_a_checkpoint_to_resume_from_training_starts_anew(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    result = fit(tiny, tiny_dataset, tmp_path / "new", resume=True, progress=False)
    assert len(result.history) == tiny.epochs


def test_progress_is_shown_when_asked_for(
    tiny: Config, tiny_dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tiny, tiny_dataset, tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "validation_rmse=" in shown
