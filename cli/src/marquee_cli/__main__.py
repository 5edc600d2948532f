"""The `marquee` command: what can be asked for. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from fusion.records import Gender
from marquee_cli.bench import bench
from marquee_cli.errors import CommandError
from marquee_cli.options import (
    AGE_HELP,
    BUNDLE,
    CONTEXT_SETTINGS,
    DATA,
    EMBEDDER,
    GATEWAY,
    HOST,
    MILVUS,
    OCCUPATION_HELP,
    RUN,
    SEARCH,
    BundleFolder,
    Connection,
    DataFolder,
    EmbedderTarget,
    GatewayTarget,
    Json,
    MilvusUri,
    SearchTarget,
    SkipBadLines,
)
from suite import services

_PASS_THROUGH = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],  # -h is passed on too, to the parser that knows the options
}

app = typer.Typer(
    name="marquee",
    help="Movie recommendations from three gRPC services. `marquee demo` shows everything.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT_SETTINGS,
)
serve = typer.Typer(
    help="Run one service, or all three as children of this process.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
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
    """Take what is the same for all calls."""
    context.obj = Connection(tls_ca, tls_cert, tls_key, tls_server_name, token_file)


@app.command()
def data(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="MovieLens-1M: a folder or the zip. Default: the folder that MOVIELENS_DIR "
            "names, else download it from GroupLens.",
        ),
    ] = None,
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
        bool, typer.Option("--synthetic", help="Make a synthetic data set instead.")
    ] = False,
    skip_bad_lines: SkipBadLines = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to fill.")] = DATA,
) -> None:
    """Get the data set and write the catalogue of its movies, movies.jsonl."""
    from marquee_cli.dataset import obtain, write_catalogue

    if movies_file is not None:
        write_catalogue(movies_file, out, skip_bad_lines=skip_bad_lines)
    else:
        print(obtain(out, source=source, synthetic=synthetic, skip_bad_lines=skip_bad_lines))


@app.command(context_settings=_PASS_THROUGH)
def train(context: typer.Context) -> None:
    """Train the model and write its bundle; `marquee train -h` explains every choice."""
    from marquee_cli.train import run

    raise typer.Exit(run(context.args))


@app.command()
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


@app.command()
def index(
    context: typer.Context,
    data: DataFolder = DATA,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    as_json: Json = False,
) -> None:
    """Build the index of the catalogue beside the active one, then activate it."""
    from marquee_cli.indexing import rebuild

    rebuild(_connection(context), data, embedder_target, search_target, as_json=as_json)


@app.command()
def recommend(
    context: typer.Context,
    age: Annotated[int | None, typer.Option("-a", "--age", metavar="YEARS", help=AGE_HELP)] = None,
    gender: Annotated[
        Gender | None,
        typer.Option(
            "-g", "--gender", metavar="F|M", case_sensitive=False, help="F (female) or M (male)."
        ),
    ] = None,
    occupation: Annotated[
        str | None,
        typer.Option("-j", "--occupation", metavar="NAME|NUMBER", help=OCCUPATION_HELP + "."),
    ] = None,
    user_id: Annotated[
        int | None,
        typer.Option(
            "-u", "--user-id", metavar="ID", help="Id of a user of the data set, 1 or more."
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", metavar="N", help="Movies on a page, 1 to 100. Default: 10."),
    ] = None,
    genre: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only movies of this genre, as in Film-Noir; may be repeated."
        ),
    ] = None,
    min_year: Annotated[
        int | None, typer.Option(metavar="YEAR", help="Only movies of this year or later.")
    ] = None,
    max_year: Annotated[
        int | None, typer.Option(metavar="YEAR", help="Only movies of this year or earlier.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Movies not to recommend, as in 1,260; may be repeated."),
    ] = None,
    page_token: Annotated[
        str, typer.Option(metavar="TOKEN", help="Go on after the page that gave this token.")
    ] = "",
    index_first: Annotated[
        bool, typer.Option("-i", "--index", help="Rebuild the index first.")
    ] = False,
    target: GatewayTarget = GATEWAY,
    data: DataFolder = DATA,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    as_json: Json = False,
) -> None:
    """Recommend movies to a person. What is not said of the person is unknown, not zero.

    --data, --embedder-target and --search-target matter with -i only.
    """
    from marquee_cli.indexing import rebuild
    from marquee_cli.recommendation import recommend, request_for

    request = request_for(
        user_id=user_id,
        gender=gender,
        age=age,
        occupation=occupation,
        page_size=count,
        page_token=page_token,
        genres=genre or (),
        min_year=min_year,
        max_year=max_year,
        exclude=exclude or (),
    )
    if index_first:
        rebuild(_connection(context), data, embedder_target, search_target, quiet=as_json)
    recommend(_connection(context), target, request, as_json=as_json)


@app.command()
def verify(
    context: typer.Context,
    bundle: BundleFolder = BUNDLE,
    data: DataFolder = DATA,
    target: GatewayTarget = GATEWAY,
    users: Annotated[int, typer.Option(min=1, help="Random users to compare.")] = 200,
    depth: Annotated[
        int, typer.Option(min=1, max=1000, help="Movies of each user's list to compare.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Decides which users are drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare the services' lists with those of Paddle alone over the whole catalogue."""
    from marquee_cli.verification import verify

    verify(
        _connection(context),
        target,
        bundle=bundle,
        data=data,
        users=users,
        depth=depth,
        seed=seed,
        as_json=as_json,
    )


@app.command()
def demo(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="MovieLens-1M: a folder or the zip. Default: the folder that MOVIELENS_DIR "
            "names, else download it from GroupLens.",
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Use a synthetic data set instead.")
    ] = False,
    build: Annotated[
        Path, typer.Option("--build", metavar="DIR", help="Folder for everything that is made.")
    ] = Path("build"),
) -> None:
    """Do everything once: data, model, services, index, and a list for a student of 25."""
    from marquee_cli.demo import demo

    demo(build, source=source, synthetic=synthetic)


@serve.command("embedder", context_settings=_PASS_THROUGH)
def serve_embedder(context: typer.Context) -> None:
    """Run the embedder; `marquee serve embedder -h` explains its settings."""
    _become("embedder_service", context)


@serve.command("search", context_settings=_PASS_THROUGH)
def serve_search(context: typer.Context) -> None:
    """Run the search service; `marquee serve search -h` explains its settings."""
    _become("search_service", context)


@serve.command("gateway", context_settings=_PASS_THROUGH)
def serve_gateway(context: typer.Context) -> None:
    """Run the gateway; `marquee serve gateway -h` explains its settings."""
    _become("gateway", context)


@serve.command("all", context_settings=CONTEXT_SETTINGS)
def serve_all(
    bundle: BundleFolder = BUNDLE,
    milvus_uri: MilvusUri = MILVUS,
    host: Annotated[str, typer.Option(help="Address that all three listen on.")] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")
    ] = services.GATEWAY.port,
    embedder_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedder; 0 takes a free one.")
    ] = services.EMBEDDER.port,
    search_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the search service; 0: a free one.")
    ] = services.SEARCH.port,
    as_json: Json = False,
) -> None:
    """Run all three services until SIGTERM or SIGINT (Ctrl-C), then stop them.

    Their other settings are taken from the environment; docs/configuration.md lists them.
    """
    from marquee_cli.serving import Ports, serve_all

    serve_all(
        host=host,
        ports=Ports(gateway=port, embedder=embedder_port, search=search_port),
        bundle=bundle,
        milvus_uri=milvus_uri,
        as_json=as_json,
    )


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
        sys.stdout = None  # nothing is left to flush to
        return 0


def _connection(context: typer.Context) -> Connection:
    return cast("Connection", context.obj)


def _become(module: str, context: typer.Context) -> None:
    """Become a service; signals, output and exit code are then its own."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *context.args])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
