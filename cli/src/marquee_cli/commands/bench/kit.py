"""Code that the commands of `marquee bench` share; imports loadtest, an extra, only when used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from marquee_cli.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console

    from loadtest.results import Results

RESULTS = Path("build/bench/results.json")
"""Results file of `make bench`."""


@contextmanager
def kit() -> Iterator[None]:
    """Import loadtest, and turn its errors into errors of the command."""
    try:
        from loadtest.clients import LoadError
        from loadtest.results import ResultsError
        from loadtest.workload import WorkloadError
        from suite.process import ProcessError
    except ModuleNotFoundError as error:
        raise CommandError(
            f"marquee bench needs the extra `bench` of marquee-cli ({error})"
        ) from error
    try:
        yield
    except (LoadError, ProcessError, ResultsError, WorkloadError) as error:
        raise CommandError(str(error)) from error


def numbers(text: str, option: str) -> list[float]:
    """Read an option's numbers, as in `1,8,64`.

    Raises:
        CommandError: A part is not a number above 0.
    """
    try:
        numbers = [float(each) for each in text.split(",") if each.strip()]
    except ValueError:
        raise CommandError(f"{option} takes numbers, as in 1,8,64, not {text!r}") from None
    if not all(0 < each < float("inf") for each in numbers):
        raise CommandError(f"{option} takes numbers above 0, not {text!r}")
    return numbers


def console() -> Console:
    """Return a console, 200 columns wide where stdout is not a terminal."""
    from rich.console import Console

    shown = Console(highlight=False)
    return shown if shown.is_terminal else Console(highlight=False, width=200)


def show_results(results: Results) -> None:
    """Print a run."""
    from loadtest.report import table

    table.show(results, console())


def write(results: Results, out: Path) -> None:
    """Write a run, and its page next to it."""
    from loadtest.report.page import page

    results.write(out)
    out.with_suffix(".html").write_text(page(results), encoding="utf-8")
    typer.echo(f"written: {out} and {out.with_suffix('.html')}", err=True)
