"""From data to a bundle, in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusion.bundle import Bundle
from fusion.manifest import Manifest
from training.batches import Split
from training.config import Config
from training.evaluate import evaluate
from training.export import export
from training.model import SCORE_SCALE
from training.movielens import Dataset
from training.parallel import Workers
from training.report import write_report
from training.towers import Towers
from training.train import embed, fit


@dataclass(frozen=True)
class Trained:
    """A bundle and the report on it.

    Attributes:
        manifest: Of the bundle; its `evaluation` has the figures.
        report: The text of report.txt.
    """

    manifest: Manifest
    report: str


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
    """Fits a model, evaluates it on the test ratings, and writes bundle and report.

    Args:
        config: The choices of the run.
        dataset: The data.
        out: Folder for checkpoints and report; made if need be.
        bundle: Folder of the bundle; one that is there is replaced.
        resume: Go on from the checkpoint in `out`, if there is one.
        progress: Show progress bars.
        workers: The processes that train together; this one alone if None.

    Returns:
        What was made; None in the workers that only helped.

    Raises:
        TrainingError: The data cannot be split, or the checkpoint is of another run.
        BundleError: Something that is no bundle is at `bundle`.
    """
    workers = workers or Workers()
    result = fit(config, dataset, out, resume=resume, progress=progress, workers=workers)
    if not workers.leads:
        return None
    evaluation = evaluate(
        dataset,
        result.split,
        lambda users: embed(result.model.user, result.encoder.users(users).features),
        lambda movies: embed(result.model.movie, result.encoder.movies(movies).features),
        SCORE_SCALE,
    )
    manifest = export(result, dataset, bundle, evaluation)
    return Trained(manifest, write_report(out, result, dataset, evaluation))


def evaluate_bundle(bundle: Bundle, dataset: Dataset, config: Config) -> dict[str, float]:
    """Figures of a bundle, by Paddle Inference, on the test ratings of a run.

    Args:
        bundle: To evaluate.
        dataset: That the bundle was trained on, for its ratings to be the test's.
        config: Of the run: its seed and shares make the split.
    """
    split = Split.of(len(dataset.ratings), config)
    towers = Towers(bundle.path, bundle.encoder)
    return evaluate(dataset, split, towers.users, towers.movies, float(bundle.manifest.score_scale))
