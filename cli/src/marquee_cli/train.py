"""`marquee train` and `marquee evaluate --bundle`: train a model, and measure its accuracy."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.bundle import Bundle, BundleError
from marquee_cli.dataset import as_command_errors, load, read_source
from marquee_cli.errors import CommandError
from marquee_cli.options import BUNDLE, CONTEXT_SETTINGS, DATA, RUN, BundleFolder, DataFolder
from marquee_cli.train_options import config_of, with_config_options
from training import machine
from training.config import Config, Preset

if TYPE_CHECKING:  # it imports Paddle
    from training.pipeline import Trained


def run(argv: Sequence[str]) -> int:
    """Run `marquee train`: train, and print the report.

    Args:
        argv: Its arguments.

    Returns:
        The exit code.

    Raises:
        CommandError: There is no data, or no model can be trained on it.
        typer.TyperException: An argument is not valid.
    """
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT_SETTINGS,
    )
    app.command()(with_config_options(_train_command))
    return app(list(argv), prog_name="marquee train", standalone_mode=False) or 0


def _train_command(
    data: DataFolder = DATA,
    bundle: BundleFolder = BUNDLE,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for checkpoints, report and curves.")
    ] = RUN,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")
    ] = False,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help='Defaults of the options below: "full" for the best model of MovieLens-1M, '
            '"quick" for a good one in less time, "small" for data sets like the synthetic one. '
            "Default: small for the synthetic data set, full for any other."
        ),
    ] = None,
    **choices: object,
) -> None:
    """Train the model and write its bundle.

    docs/training.md explains the figures, and how several processes or machines train one model.
    """
    preset = preset or preset_for(synthetic=read_source(data).synthetic)
    try:
        trained = train(config_of(preset, choices), data, out, bundle, resume=resume)
    except KeyboardInterrupt:
        sys.stderr.write("marquee: stopped; --resume continues from the last checkpoint\n")
        raise typer.Exit(130) from None
    if trained is not None:
        print(trained.report)
        print(f"{bundle}: {trained.manifest.name} {trained.manifest.version}")


def preset_for(*, synthetic: bool) -> Preset:
    """Return the preset that suits a data set."""
    return "small" if synthetic else "full"


def train(
    config: Config, data: Path, out: Path, bundle: Path, *, resume: bool = False
) -> Trained | None:
    """Train, evaluate and export; processes of one launcher train together.

    Args:
        config: The choices of the run.
        data: Folder that `marquee data` filled.
        out: Folder for checkpoints and report.
        bundle: Folder to write the bundle to; an existing one is replaced.
        resume: Continue from the checkpoint in `out`, if there is one.

    Returns:
        The bundle's manifest and the text of the report; None in a process that does not lead.

    Raises:
        CommandError: There is no data, or no model can be trained on it.
    """
    dataset = load(read_source(data))
    machine.prepare()
    from training.parallel import Workers  # imports Paddle, see `machine`
    from training.pipeline import train as run_pipeline

    with as_command_errors():
        return run_pipeline(config, dataset, out, bundle, resume=resume, workers=Workers.join())


def evaluate(data: Path, bundle: Path, out: Path) -> dict[str, float]:
    """Return the figures of a bundle on the test ratings of its training run.

    Args:
        data: Folder that `marquee data` filled.
        bundle: Folder of the bundle.
        out: Folder of the run.

    Raises:
        CommandError: One of them is missing, or the bundle was trained on other data.
    """
    source = read_source(data)
    try:
        model = Bundle.load(bundle)
    except BundleError as error:
        raise CommandError(str(error)) from None
    if source.fingerprint != model.manifest.data_fingerprint:
        raise CommandError(f"{bundle} was not trained on the data of {data}")
    try:
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        config = Config.model_validate(report["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{out / 'report.json'} is not the report of a training run: {error}"
        ) from None
    machine.prepare()
    from training.pipeline import evaluate_bundle  # imports Paddle, see `machine`

    return evaluate_bundle(model, load(source), config)
