"""`marquee bench show`, `compare` and `publish`: work with results files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.commands.bench.kit import RESULTS, console, kit, show_results
from marquee_cli.errors import CommandError

PUBLISHED = Path("docs/results/published.json")


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="JSON of one run.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="JSON of another.")],
    threshold: Annotated[
        float,
        typer.Option(min=0, metavar="SHARE", help="Smallest change to highlight; 0.1 is 10 %."),
    ] = 0.1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail when a figure is worse by more than that.")
    ] = False,
) -> None:
    """Compare two runs, figure by figure."""
    with kit():
        from loadtest.report import compare
        from loadtest.results import Results

        runs = Results.read(before), Results.read(after)
        changes = compare.compare(*runs)
        if not changes:
            raise CommandError("the two runs have no figure in common")
        console().print(compare.table(changes, threshold))
        for each in compare.missing(*runs):
            typer.echo(f"only in one run: {each}")
        worse = [each for each in changes if each.is_worse(threshold)]
        if strict and worse:
            raise CommandError(f"{len(worse)} figures became worse by more than {threshold:.0%}")


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of a run.")] = RESULTS,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in docs/performance-results.md.")
    ] = False,
) -> None:
    """Show the results of a run."""
    with kit():
        from loadtest.report.markdown import sections
        from loadtest.results import Results

        results = Results.read(file)
        if markdown:
            typer.echo(sections(results))
        else:
            show_results(results)


def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of a run.")] = RESULTS,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File from which docs/generate.py makes a page.")
    ] = PUBLISHED,
) -> None:
    """Publish a run; `make bench-publish` writes the page as well."""
    with kit():
        from loadtest.bench.ratios import RATIOS
        from loadtest.results import Results

        results = Results.read(file)
        missing = [r.name for r in RATIOS.values() if r.aim and r.name not in results.ratios]
        results.without_histograms().write(out)
        typer.echo(f"written: {out}", err=True)
        if missing:
            typer.echo(f"not measured in it: {', '.join(missing)}", err=True)
