"""Declaration of `marquee data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.options import DATA, MovieLensPath, SkipBadLines


def data(
    source: MovieLensPath = None,
    movies_file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--movies-file",
            metavar="FILE",
            help="A raw movies file alone (`id::title (year)::genre|genre`); writes movies.jsonl, "
            "the catalogue that `marquee index` reads, and nothing else.",
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Generate a synthetic data set instead.")
    ] = False,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder.")] = DATA,
) -> None:
    """Get the data set and write the catalogue of its movies, movies.jsonl."""
    from marquee_cli.dataset import obtain, write_catalogue

    if movies_file is not None:
        write_catalogue(movies_file, out, skip_bad_lines=skip_bad_lines)
    else:
        print(obtain(out, source=source, synthetic=synthetic, skip_bad_lines=skip_bad_lines))
