"""`marquee evaluate`: compare models and baselines, and write the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from marquee_cli.dataset import as_command_errors, load, read_source
from marquee_cli.errors import CommandError


def compare(data: Path, out: Path, seed: int, models: Sequence[str] | None) -> tuple[str, str]:
    """Fit and compare all models, and tell the progress on stderr.

    Args:
        data: Folder that `marquee data` filled.
        out: Folder of the report.
        seed: Determines the splits.
        models: Names of the models to compare. None or empty: all.

    Returns:
        The results as JSON, and as tables in Markdown.

    Raises:
        CommandError: There is no data, it cannot be split, a name is unknown, or the extra
            `evaluate` is not installed.
    """
    source = read_source(data)
    try:
        from training.evaluation import comparison
        from training.evaluation.report import write_report
    except ModuleNotFoundError as error:
        raise CommandError(
            f"marquee evaluate needs the extra `evaluate` of marquee-cli ({error})"
        ) from error
    known = [*comparison.RANKERS, *comparison.RATERS]
    if unknown := [name for name in models or () if name not in known]:
        raise CommandError(
            f"--model: there is no {unknown[0]}, only {', '.join(dict.fromkeys(known))}"
        )
    started = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {line}\n")

    with as_command_errors():
        results = comparison.compare(load(source), seed, say, only=models or None)
        tables = write_report(out, results)
    say(f"written: {out / 'results.json'}, report.md, report.png and report.html beside it")
    return results.to_json(), tables
