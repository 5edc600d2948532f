"""Declaration of `marquee train`."""

from __future__ import annotations

import typer


def train(context: typer.Context) -> None:
    """Train the model and write its bundle; `marquee train -h` explains every option."""
    from marquee_cli.train import run

    raise typer.Exit(run(context.args))
