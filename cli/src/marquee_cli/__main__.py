"""The `marquee` command: its subcommands, and its exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from marquee_cli.commands.bench import bench
from marquee_cli.commands.data import data
from marquee_cli.commands.demo import demo
from marquee_cli.commands.evaluate import evaluate
from marquee_cli.commands.index import index
from marquee_cli.commands.recommend import recommend
from marquee_cli.commands.serve import serve
from marquee_cli.commands.similar import similar
from marquee_cli.commands.train import train
from marquee_cli.commands.verify import verify
from marquee_cli.errors import CommandError
from marquee_cli.options import CONTEXT_SETTINGS, PASS_THROUGH, Connection

app = typer.Typer(
    name="marquee",
    help="Movie recommendations from three gRPC services. `marquee demo` runs every step.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT_SETTINGS,
)
app.command()(data)
app.command(context_settings=PASS_THROUGH)(train)
for _command in (evaluate, index, recommend, similar, verify, demo):
    app.command()(_command)
app.add_typer(serve, name="serve")
app.add_typer(bench, name="bench")


@app.callback()
def connection(
    context: typer.Context,
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file of the servers' authorities. Default: no TLS."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of this client's certificate.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of its private key.")
    ] = None,
    tls_server_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name to expect in a server's certificate.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of the bearer token to send.")
    ] = None,
) -> None:
    """Keep the options that all calls share."""
    context.obj = Connection(tls_ca, tls_cert, tls_key, tls_server_name, token_file)


def main() -> int:
    """Run the command and return its exit code: 1 when it failed, 2 when it was misused."""
    try:
        return app(prog_name="marquee", standalone_mode=False) or 0
    except typer.TyperException as error:
        sys.stderr.write(f"marquee: {error.format_message()}\n")
        return error.exit_code
    except CommandError as error:
        sys.stderr.write(f"marquee: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `marquee recommend | head`
        sys.stdout = None  # a flush at exit would fail again
        return 0


if __name__ == "__main__":
    sys.exit(main())
