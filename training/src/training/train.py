"""Fits the fusion model to a data set."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from tqdm import tqdm

from fusion.bundle import Vectors
from fusion.features import FeatureEncoder, Features
from fusion.vocabularies import Vocabularies
from training import checkpoint
from training.batches import Batch, Batches, Rows, Split
from training.checkpoint import Epoch, Progress
from training.config import Config
from training.errors import TrainingError
from training.evaluate import predict
from training.model import SCORE_SCALE, FusionModel
from training.movielens import Dataset
from training.parallel import Workers

CHECKPOINT = "checkpoint.npz"


@dataclass(frozen=True)
class Result:
    """A trained model, and the run that trained it."""

    config: Config
    """The choices of the run."""
    model: FusionModel
    """The model with the parameters of the best epoch."""
    encoder: FeatureEncoder
    """Encoder of the model's inputs."""
    split: Split
    """The split of the ratings."""
    history: list[Epoch]
    """Figures of each epoch."""
    best_epoch: int
    """Index of the best epoch in `history`."""


def fit(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    workers: Workers | None = None,
) -> Result:
    """Train until the last epoch, or until early stopping.

    Args:
        config: The choices of the run.
        dataset: The data.
        out: Folder for checkpoints; created if missing.
        resume: Continue from the checkpoint in `out`, if there is one.
        progress: Show a progress bar.
        workers: The processes that train together. None: this one alone.

    Raises:
        TrainingError: The data cannot be split, or the checkpoint belongs to another run.
    """
    run = _Run(config, dataset, out / CHECKPOINT, workers or Workers())
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.restore()
    run.train(progress)
    checkpoint.load_arrays(run.model, run.best)
    return Result(
        config, run.model, run.encoder, run.split, run.state.history, run.state.best_epoch
    )


def embed(tower: paddle.nn.Layer, features: Features) -> Vectors:
    """Embed encoded records by a tower of the model: float32 [n, dimension]."""
    with paddle.no_grad():
        inputs = {name: paddle.to_tensor(values) for name, values in features.items()}
        return np.asarray(tower(**inputs).numpy())


class _Run:
    def __init__(self, config: Config, dataset: Dataset, path: Path, workers: Workers) -> None:
        self._config, self._dataset, self._path, self._workers = config, dataset, path, workers
        self.split = Split.of(len(dataset.ratings), config)
        self.encoder = FeatureEncoder(Vocabularies.of(dataset.users, dataset.movies))
        self._batches = Batches(dataset, self.encoder, self.split.train, config, workers)
        paddle.seed(config.seed)
        self.model = FusionModel(self.encoder.vocabularies.sizes(), config)
        self._optimizer = paddle.optimizer.AdamW(
            config.learning_rate,
            parameters=self.model.parameters(),
            weight_decay=config.weight_decay,
        )
        self.state = Progress({**config.model_dump(), "data": dataset.fingerprint})
        self.best = checkpoint.arrays(self.model)

    def restore(self) -> None:
        if self._path.exists():
            self.state, self.best = checkpoint.restore(
                self._path, self.state.identity, self.model, self._optimizer
            )
        here = np.array([self.state.epoch, self.state.step], dtype=np.float64)
        if not np.array_equal(self._workers.sum(here), here * self._workers.count):
            raise TrainingError(
                f"The processes do not resume from the same step; {self._path} must be in a folder "
                "that all of them share."
            )

    def train(self, show_progress: bool) -> None:
        state, steps = self.state, self._batches.steps
        with tqdm(
            total=self._config.epochs * steps,
            initial=state.epoch * steps + state.step,
            desc="training",
            unit="batch",
            disable=not (show_progress and self._workers.leads),
        ) as bar:
            while state.epoch < self._config.epochs and not self._stops_early():
                while state.step < steps:
                    self._step()
                    bar.update()
                    if state.step % self._config.checkpoint_steps == 0:
                        self._save()
                self._end_epoch()
                bar.set_postfix(validation_rmse=f"{state.history[-1].validation_rmse:.4f}")
                self._save()

    def _step(self) -> None:
        state, started = self.state, time.perf_counter()
        batch = self._batches.get(state.epoch, state.step)
        loaded = time.perf_counter()
        self._optimizer.set_lr(self._learning_rate())
        squared_error = self._squared_error(batch)
        (squared_error / batch.total).backward()
        self._workers.sum_gradients(self.model.parameters())
        self._optimizer.step()
        self._optimizer.clear_grad()
        state.squared_error += float(squared_error)
        state.step += 1
        state.loading_seconds += loaded - started
        state.seconds += time.perf_counter() - started

    def _squared_error(self, batch: Batch) -> paddle.Tensor:
        users = self.model.user(**_tensors(batch.user))
        movies = self.model.movie(**_tensors(batch.movie))
        errors = SCORE_SCALE * (users * movies).sum(axis=1) - paddle.to_tensor(batch.stars)
        return (errors * errors).sum()

    def _learning_rate(self) -> float:
        done = self.state.epoch + self.state.step / self._batches.steps
        return self._config.learning_rate * (1 + math.cos(math.pi * done / self._config.epochs)) / 2

    def _end_epoch(self) -> None:
        state, started = self.state, time.perf_counter()
        validation = self._validation_rmse(self.split.validation)
        squared_error = self._workers.sum(np.array([state.squared_error]))[0]
        state.history.append(
            Epoch(
                train_rmse=math.sqrt(squared_error / len(self.split.train)),
                validation_rmse=validation,
                seconds=state.seconds + time.perf_counter() - started,
                loading_seconds=state.loading_seconds,
            )
        )
        if state.best_epoch == state.epoch:
            self.best = checkpoint.arrays(self.model)
        state.epoch, state.step = state.epoch + 1, 0
        state.squared_error = state.seconds = state.loading_seconds = 0.0

    def _validation_rmse(self, rows: Rows) -> float:
        # Each worker evaluates its share, and all use the sum: they must agree on when to stop.
        rows, dataset = rows[self._workers.rank :: self._workers.count], self._dataset
        users = embed(self.model.user, self.encoder.users(dataset.users).features)
        movies = embed(self.model.movie, self.encoder.movies(dataset.movies).features)
        predicted = predict(users, movies, dataset.ratings, rows, SCORE_SCALE)
        errors = predicted.astype(np.float64) - dataset.ratings.stars[rows]
        total = self._workers.sum(np.array([np.sum(errors**2)]))[0]
        return math.sqrt(total / len(self.split.validation))

    def _stops_early(self) -> bool:
        return self.state.epoch - 1 - self.state.best_epoch >= self._config.patience

    def _save(self) -> None:
        if self._workers.leads:
            checkpoint.save(self._path, self.state, self.model, self._optimizer, self.best)


def _tensors(arrays: dict[str, NDArray[Any]]) -> dict[str, paddle.Tensor]:
    return {name: paddle.to_tensor(values) for name, values in arrays.items()}
