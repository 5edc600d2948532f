"""The whole of training in one call: from data to a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusion.bundle import Bundle, check_replaceable
from fusion.manifest import Manifest
from training.batches import Split
from training.config import Config
from training.evaluate import evaluate as evaluate_ratings
from training.export import export, served
from training.model import SCORE_SCALE
from training.movielens import Dataset
from training.parallel import Workers
from training.ranking.evaluate import evaluate as evaluate_ranking
from training.ranking.fit import fit_ranker
from training.report import write_ranking_report, write_report
from training.towers import Towers
from training.train import embed, fit


@dataclass(frozen=True)
class Trained:
    """A bundle and the report on it."""

    manifest: Manifest
    """Manifest of the bundle; its `evaluation` has the figures."""
    report: str
    """Text of report.txt."""


def train(
    config: Config,
    dataset: Dataset,
    out: Path,
    bundle: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    workers: Workers | None = None,
) -> Trained | None:
    """Fit a model, evaluate it on the test ratings, and write bundle and report.

    Args:
        config: The choices of the run.
        dataset: The data.
        out: Folder for checkpoints and report; created if missing.
        bundle: Folder of the bundle; an existing bundle is replaced.
        resume: Continue from the checkpoint in `out`, if there is one.
        progress: Show a progress bar.
        workers: The processes that train together. None: this one alone.

    Returns:
        The manifest and the report; None in a worker that does not lead.

    Raises:
        TrainingError: The data cannot be split, or the checkpoint belongs to another run.
        BundleError: `bundle` exists and is not a bundle.
    """
    workers = workers or Workers()
    if workers.leads:
        check_replaceable(bundle)  # now, because training takes minutes
    if config.objective == "ranking":
        # Seconds in one process: nothing to share, and nothing to resume.
        return _train_ranker(config, dataset, out, bundle) if workers.leads else None
    result = fit(config, dataset, out, resume=resume, progress=progress, workers=workers)
    if not workers.leads:
        return None
    evaluation = evaluate_ratings(
        dataset,
        result.split,
        lambda users: embed(result.model.user, result.encoder.users(users).features),
        lambda movies: embed(result.model.movie, result.encoder.movies(movies).features),
        SCORE_SCALE,
    )
    layers = served(result.model)
    manifest = export(layers, config, result.encoder, dataset, bundle, evaluation)
    return Trained(manifest, write_report(out, result, dataset, evaluation))


def _train_ranker(config: Config, dataset: Dataset, out: Path, bundle: Path) -> Trained:
    split = Split.of(len(dataset.ratings), config)
    ranker = fit_ranker(config, dataset, np.concatenate([split.train, split.validation]))
    encoder = ranker.encoder
    evaluation = evaluate_ranking(
        dataset,
        split,
        lambda users: embed(ranker.user, encoder.users(users).features),
        lambda movies: embed(ranker.movie, encoder.movies(movies).features),
    )
    layers = ranker.user, ranker.movie
    manifest = export(layers, config, encoder, dataset, bundle, evaluation)
    report = write_ranking_report(out, config, dataset, split, ranker.seconds, evaluation)
    return Trained(manifest, report)


def evaluate_bundle(bundle: Bundle, dataset: Dataset, config: Config) -> dict[str, float]:
    """Return the figures of a bundle, run by Paddle Inference, on the test ratings of its run.

    Args:
        bundle: The bundle to evaluate.
        dataset: The data that the bundle was trained on, so that the test ratings are the same.
        config: The choices of the run; its seed and shares determine the split.
    """
    split = Split.of(len(dataset.ratings), config)
    towers = Towers(bundle.path, bundle.encoder)
    if bundle.manifest.objective == "ranking":
        return evaluate_ranking(dataset, split, towers.users, towers.movies)
    scale = float(bundle.manifest.score_scale)
    return evaluate_ratings(dataset, split, towers.users, towers.movies, scale)
