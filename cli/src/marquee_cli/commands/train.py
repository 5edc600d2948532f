"""Declaration of `marquee train` and `marquee evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.options import BUNDLE, DATA, RUN, BundleFolder, DataFolder, Json


def train(context: typer.Context) -> None:
    """Train the model and write its bundle; `marquee train -h` explains every option."""
    from marquee_cli.train import run

    raise typer.Exit(run(context.args))


def evaluate(
    data: DataFolder = DATA,
    bundle: BundleFolder = BUNDLE,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The --out of the training run.")
    ] = RUN,
    as_json: Json = False,
) -> None:
    """Evaluate a bundle on the test ratings of its run; docs/training.md explains the figures."""
    from marquee_cli.train import evaluate

    figures = evaluate(data, bundle, out)
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(f"{value:.4f}  {name}" for name, value in figures.items()))
