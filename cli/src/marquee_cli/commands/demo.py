"""Declaration of `marquee demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.options import MovieLensPath


def demo(
    source: MovieLensPath = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Use a synthetic data set instead.")
    ] = False,
    build: Annotated[
        Path, typer.Option("--build", metavar="DIR", help="Folder for all output.")
    ] = Path("build"),
) -> None:
    """Run every step once: data, model, services, index, and a list for a student of 25."""
    from marquee_cli.demo import demo

    demo(build, source=source, synthetic=synthetic)
