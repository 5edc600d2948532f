"""`marquee train`: a model of the data, and the bundle that is served."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fusion.bundle import Bundle, BundleError
from fusion.manifest import Manifest
from marquee_cli.dataset import load, read_source, told
from marquee_cli.errors import CommandError
from marquee_cli.options import BUNDLE, DATA, RUN
from training import machine
from training.config import Config
from training.options import add_options, config_of


def run(argv: Sequence[str]) -> None:
    """Train as a command line says, and print the report.

    Args:
        argv: Arguments of `marquee train`. The choices of a run are the training package's to
            name and explain, so they are parsed with its parser.

    Raises:
        CommandError: There are no data, or they cannot be learnt from.
    """
    arguments = _parser().parse_args(argv)
    source = read_source(arguments.data)
    if arguments.preset is None:
        arguments.preset = preset_for(synthetic=source.synthetic)
    with told():
        config = config_of(arguments)
    manifest, report = train(
        config, arguments.data, arguments.out, arguments.bundle, resume=arguments.resume
    )
    print(report)
    print(f"{arguments.bundle}: {manifest.name} {manifest.version}")


def preset_for(*, synthetic: bool, quick: bool = False) -> str:
    """Return the name of the choices that suit a data set."""
    if synthetic:
        return "small"
    return "quick" if quick else "full"


def train(
    config: Config, data: Path, out: Path, bundle: Path, *, resume: bool = False
) -> tuple[Manifest, str]:
    """Train, evaluate and export.

    Args:
        config: The choices of the run.
        data: Folder that `marquee data` filled.
        out: Folder for checkpoints and report.
        bundle: Folder to write the bundle to; one that is there is replaced.
        resume: Go on where a run that was killed was.

    Returns:
        The bundle's manifest and the text of the report.

    Raises:
        CommandError: There are no data, or they cannot be learnt from.
    """
    dataset = load(read_source(data))
    machine.prepare()
    from training.pipeline import train as run_pipeline  # imports Paddle, see `machine`

    with told():
        trained = run_pipeline(config, dataset, out, bundle, resume=resume)
    assert trained is not None, "this process trains alone, so it leads"  # noqa: S101
    return trained.manifest, trained.report


def evaluate(data: Path, bundle: Path, out: Path) -> dict[str, float]:
    """Return the figures of a bundle on the test ratings of the run that made it.

    Args:
        data: Folder that `marquee data` filled.
        bundle: Folder of the bundle.
        out: Folder of the run.

    Raises:
        CommandError: One of them is missing, or they do not belong together.
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
        raise CommandError(f"{out / 'report.json'} is no report of a run: {error}") from None
    machine.prepare()
    from training.pipeline import evaluate_bundle  # imports Paddle, see `machine`

    return evaluate_bundle(model, load(source), config)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"marquee: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="marquee train",
        description="Train the model and write its bundle. docs/training.md explains the figures, "
        "and how several processes or machines train one model.",
        allow_abbrev=False,
    )
    for flag, default, text in (
        ("--data", DATA, "folder that `marquee data` filled"),
        ("--bundle", BUNDLE, "folder of the bundle to write"),
        ("--out", RUN, "folder for checkpoints, report and curves"),
    ):
        parser.add_argument(
            flag,
            type=Path,
            default=default,
            metavar="DIR",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument(
        "--resume", action="store_true", help="go on where a run that was killed was"
    )
    add_options(parser)
    parser.set_defaults(preset=None)
    return parser
