"""`marquee bench`: the load-testing kit. It is the extra `bench`, imported when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from marquee_cli.errors import CommandError
from marquee_cli.options import (
    BUNDLE,
    EMBEDDER,
    GATEWAY,
    SEARCH,
    BundleFolder,
    Connection,
    EmbedderTarget,
    GatewayTarget,
    SearchTarget,
)

if TYPE_CHECKING:
    from rich.console import Console

    from loadtest.pacing import Pacing
    from loadtest.results import Results

RESULTS = Path("build/bench/results.json")
WORK = Path("build/bench")
MILVUS_SERVER = Path(".venv-milvus/bin/milvus-server")


class Client(StrEnum):
    """What makes the load."""

    WIRE = "wire"
    GRPCIO = "grpcio"
    H2LOAD = "h2load"


class Arrivals(StrEnum):
    """How the calls of a fixed rate come."""

    POISSON = "poisson"
    EVEN = "even"


Out = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="JSON to write; a page of the same name beside it."),
]
MilvusServer = Annotated[
    Path, typer.Option("--milvus-server", metavar="FILE", help="The milvus-server program.")
]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Folder for stores and logs.")]

bench = typer.Typer(
    help="Measure services: any load at any address, or the published set.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@bench.command("run")
def run(
    context: typer.Context,
    mix: Annotated[
        str,
        typer.Argument(
            metavar="MIX",
            help="Methods and their shares, as in Recommend or Recommend:9,EmbedUsers:1; "
            "of Recommend, EmbedUsers, EmbedMovies and SearchMovies.",
        ),
    ] = "Recommend",
    target: GatewayTarget = GATEWAY,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "-c",
            "--concurrency",
            metavar="N[,N…]",
            help="Closed loop: callers, each of which calls again once it is answered. "
            "Several numbers give a curve. Default: 64, unless there is a rate.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "-r",
            "--rate",
            metavar="N[,N…]",
            help="Open loop: calls a second, whether or not they are answered; latency counts "
            "from when a call was due.",
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="Whether the calls of a rate come at random or evenly.")
    ] = Arrivals.POISSON,
    duration: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Measured time of a load.")
    ] = 10.0,
    warm_up: Annotated[
        float, typer.Option(min=0, max=600, metavar="SECONDS", help="The same load before it.")
    ] = 2.0,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Client processes.")] = 1,
    connections: Annotated[
        int, typer.Option(min=1, max=256, help="Connections to each address, of each process.")
    ] = 1,
    client: Annotated[
        Client,
        typer.Option(
            help="wire: lean HTTP/2, a tenth of grpcio's CPU; grpcio: what a Python caller sees; "
            "h2load: nghttp2's, closed loop of one method only."
        ),
    ] = Client.WIRE,
    users: Annotated[int, typer.Option(min=1, help="User ids are 1 to this.")] = 6040,
    zipf: Annotated[
        float,
        typer.Option(
            min=0, max=5, help="0: every user as likely; above: the k-th by 1 / k to this power."
        ),
    ] = 0.0,
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Users, movies or vectors in one request.")
    ] = 1,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Movies asked for.")] = 10,
    real_vectors: Annotated[
        bool,
        typer.Option(
            "--real-vectors", help="SearchMovies sends vectors of the embedder, not random ones."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Budget of a call.")
    ] = 5.0,
    name: Annotated[
        str | None, typer.Option(help="What it is called in the results. Default: the mix.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON to write, and a page of the same name beside it."),
    ] = None,
) -> None:
    """Drive services with a load and say how they bear it.

    CPU is shown of servers that run on this machine. Tokens and TLS are options of `marquee`
    itself, as in `marquee --token-file token bench run`.
    """
    with _kit():
        from loadtest.results import Results
        from loadtest.scenario import Scenario, complete
        from loadtest.workload import METHODS, Workload, parse_mix
        from rpckit.settings.client import ClientSettings

        connection = asdict(cast("Connection", context.obj))
        targets = {"Recommend": target, "SearchMovies": search_target}
        shares = parse_mix(mix)
        endpoints = {
            method: ClientSettings(
                target=targets.get(method, embedder_target), timeout_s=timeout, **connection
            )
            for method in METHODS
        }
        used = {method: endpoints[method] for method in shares}
        workload = Workload(shares, users=users, zipf=zipf, batch=batch, top_k=top_k)
        embedder = endpoints["EmbedUsers"] if real_vectors else None
        scenario = Scenario(
            name or mix,
            used,
            complete(workload, used, embedder),
            _loads(concurrency, rate, arrivals),
            duration=duration,
            warm_up=warm_up,
            processes=processes,
            connections=connections,
            client=client.value,
        )
        results = Results(f"Marquee: {name or mix}")
        results.measurements = scenario.run(
            lambda done: typer.echo(f"{done.load}: {done.per_second:,.0f}/s", err=True)
        )
        _show(results)
        if out is not None:
            _write(results, out)


@bench.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="JSON of one run.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="JSON of another.")],
    threshold: Annotated[
        float, typer.Option(min=0, metavar="SHARE", help="Changes to mark; 0.1 is a tenth.")
    ] = 0.1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail when a figure became worse by more.")
    ] = False,
) -> None:
    """Compare two runs, figure by figure."""
    with _kit():
        from loadtest.report import compare
        from loadtest.results import Results

        runs = Results.read(before), Results.read(after)
        changes = compare.compare(*runs)
        if not changes:
            raise CommandError("the two runs have no figure in common")
        _console().print(compare.table(changes, threshold))
        for each in compare.missing(*runs):
            typer.echo(f"only in one of them: {each}")
        worse = [each for each in changes if each.is_worse(threshold)]
        if strict and worse:
            raise CommandError(f"{len(worse)} figures became worse by more than {threshold:.0%}")


@bench.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of a run.")] = RESULTS,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in docs/performance.md.")
    ] = False,
) -> None:
    """Show a run again."""
    with _kit():
        from loadtest.report.markdown import tables
        from loadtest.results import Results

        results = Results.read(file)
        if markdown:
            typer.echo(tables(results))
        else:
            _show(results)


@bench.command("suite")
def suite(
    bundle: BundleFolder = BUNDLE,
    out: Out = RESULTS,
    work: Work = WORK,
    milvus_server: MilvusServer = MILVUS_SERVER,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only what the ratios need, and shorter.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail when a ratio is out of its generous bounds.")
    ] = False,
) -> None:
    """Measure the published set on this machine; `make bench` and `make bench-check` do."""
    with _kit():
        from loadtest.bench import published, ratios

        run = published.Published(
            bundle=bundle,
            work=work,
            milvus_server=milvus_server,
            effort=published.QUICK if quick else published.FULL,
            say=lambda line: typer.echo(line, err=True),
        )
        try:
            results = run.run()
        finally:
            _show(run.results)
            _write(run.results, out)
        if check and (failures := ratios.failures(results)):
            raise CommandError("; ".join(failures))


@bench.command("growth")
def growth(
    sizes: Annotated[
        str, typer.Option(metavar="N[,N…]", help="Movies, on the Milvus server, ascending.")
    ] = "4000,100000,1000000",
    lite_sizes: Annotated[
        str, typer.Option(metavar="N[,N…]", help="Movies, in Milvus Lite; empty: none.")
    ] = "4000,100000",
    duration: Annotated[
        float, typer.Option(min=1, max=600, metavar="SECONDS", help="Measured time of a load.")
    ] = 10.0,
    out: Out = WORK / "growth.json",
    work: Work = WORK / "growth",
    milvus_server: MilvusServer = MILVUS_SERVER,
) -> None:
    """Measure build time, memory, latency and recall as the catalogue grows."""
    with _kit():
        from loadtest.bench.growth import Growth

        run = Growth(
            sizes=[int(each) for each in _numbers(sizes, "--sizes")],
            lite_sizes=[int(each) for each in _numbers(lite_sizes, "--lite-sizes")],
            work=work,
            milvus_server=milvus_server,
            seconds=duration,
            say=lambda line: typer.echo(line, err=True),
        )
        try:
            run.run()
        finally:  # an hour's figures are worth keeping, whatever ended it
            _show(run.results)
            _write(run.results, out)


@contextmanager
def _kit() -> Iterator[None]:
    """Import the kit, and let its errors end the command with their message."""
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


def _loads(concurrency: str | None, rate: str | None, arrivals: Arrivals) -> list[Pacing]:
    from loadtest.pacing import Closed, Open

    if rate is None and concurrency is None:
        concurrency = "64"
    closed = [Closed(int(each)) for each in _numbers(concurrency or "", "--concurrency")]
    opened = [Open(each, arrivals.value) for each in _numbers(rate or "", "--rate")]
    return [*closed, *opened]


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(each) for each in text.split(",") if each.strip()]
    except ValueError:
        raise CommandError(f"{option} takes numbers, as in 1,8,64, not {text!r}") from None
    if not all(0 < each < float("inf") for each in numbers):
        raise CommandError(f"{option} takes numbers above 0, not {text!r}")
    return numbers


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _show(results: Results) -> None:
    from loadtest.report import table

    table.show(results, _console())


def _write(results: Results, out: Path) -> None:
    from loadtest.report.page import page

    results.write(out)
    out.with_suffix(".html").write_text(page(results), encoding="utf-8")
    typer.echo(f"written: {out} and {out.with_suffix('.html')}", err=True)
