"""Declaration of `marquee evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.options import DATA, RUN, DataFolder, Json


def evaluate(
    data: DataFolder = DATA,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for results, tables and plots.")
    ] = Path("build/evaluate"),
    seed: Annotated[int, typer.Option(min=0, help="Determines the splits.")] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="Only this one; repeatable. Default: all."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Only the figures of this bundle, on the test ratings of its run."
        ),
    ] = None,
    run: Annotated[
        Path, typer.Option("--run", metavar="DIR", help="The --out of that bundle's training run.")
    ] = RUN,
    as_json: Json = False,
) -> None:
    """Compare models and baselines on the data; docs/evaluation.md explains the figures."""
    if bundle is not None:
        from marquee_cli.train import evaluate as evaluate_bundle

        figures = evaluate_bundle(data, bundle, run)
        if as_json:
            print(json.dumps(figures, indent=2))
        else:
            print("\n".join(f"{value:.4f}  {name}" for name, value in figures.items()))
        return
    from marquee_cli.evaluation import compare

    results, tables = compare(data, out, seed, model)
    print(results if as_json else tables, end="")
