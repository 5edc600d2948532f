"""`marquee train`: a model of the data, and the bundle that is served."""

from __future__ import annotations

import warnings
from pathlib import Path

from marquee_cli.dataset import load, read_source, told


def train(
    data: Path,
    bundle: Path,
    *,
    preset: str,
    epochs: int | None = None,
    seed: int | None = None,
    resume: bool = False,
) -> None:
    """Train, evaluate and export.

    Args:
        data: Folder that `marquee data` filled.
        bundle: Folder to write the bundle to; one that is there is replaced.
        preset: Name of the choices to start from.
        epochs: Most passes over the ratings, if not the preset's.
        seed: Of all that is random, if not the preset's.
        resume: Go on where a run that was killed was.

    Raises:
        CommandError: There are no data, or they cannot be learnt from.
    """
    source = read_source(data)
    dataset = load(source)
    with warnings.catch_warnings():  # of a missing compiler cache, which training does not need
        warnings.simplefilter("ignore")
        from training.config import PRESETS
        from training.evaluate import evaluate
        from training.export import export
        from training.towers import Towers
        from training.train import fit
    changes = {"epochs": epochs, "seed": seed}
    config = PRESETS[preset].model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
    with told():
        result = fit(config, dataset, bundle.with_name(f"{bundle.name}-run"), resume=resume)
        manifest = export(result, dataset, bundle, {})
        towers = Towers(bundle, result.encoder)
        figures = evaluate(dataset, result.split, towers.users, towers.movies, manifest.score_scale)
        manifest = export(result, dataset, bundle, figures)
