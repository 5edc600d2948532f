"""`marquee bench`: the load-testing kit as commands."""

from __future__ import annotations

import typer

from marquee_cli.commands.bench.files import compare, publish, show
from marquee_cli.commands.bench.run import run
from marquee_cli.commands.bench.sets import growth, published

bench = typer.Typer(
    help="Measure services: any load at any address, or the published set.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _command in (run, show, compare, published, growth, publish):
    bench.command()(_command)
