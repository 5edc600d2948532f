"""`marquee bench run`: measure any load at any address."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marquee_cli.commands.bench.kit import kit, numbers, show_results, write
from marquee_cli.options import (
    EMBEDDER,
    GATEWAY,
    SEARCH,
    EmbedderTarget,
    GatewayTarget,
    SearchTarget,
    connection_of,
)
from suite import services

if TYPE_CHECKING:
    from loadtest.load import Load


class Arrivals(StrEnum):
    """Distribution of the calls of a fixed rate over time."""

    POISSON = "poisson"
    EVEN = "even"


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
            help="Closed loop: callers, each of which calls again after its answer. "
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
            "from the time a call was due.",
        ),
    ] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="Distribution of the calls of a rate: random or even.")
    ] = Arrivals.POISSON,
    duration: Annotated[
        float,
        typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Measured time of each load."),
    ] = 10.0,
    warm_up: Annotated[
        float,
        typer.Option(
            min=0, max=600, metavar="SECONDS", help="Unmeasured time of the same load before it."
        ),
    ] = 2.0,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Client processes.")] = 1,
    connections: Annotated[
        int, typer.Option(min=1, max=256, help="Connections to each address, of each process.")
    ] = 1,
    client: Annotated[
        str,
        typer.Option(
            metavar="wire|h2load",
            help="wire: the kit's own, any load; h2load: nghttp2's, closed loop of one method.",
        ),
    ] = "wire",
    users: Annotated[int, typer.Option(min=1, help="User ids are 1 to this.")] = 6040,
    zipf: Annotated[
        float,
        typer.Option(
            min=0,
            max=5,
            help="0: all users equally likely; above 0: user k by 1 / k to this power.",
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
    name: Annotated[str | None, typer.Option(help="Name in the results. Default: the mix.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file to write; the page gets the same name."),
    ] = None,
) -> None:
    """Measure services under a load.

    CPU is shown for servers that run on this machine. Tokens and TLS are options of `marquee`
    itself, as in `marquee --token-file token bench run`.
    """
    with kit():
        from loadtest.clients import LoadClient
        from loadtest.results import Results
        from loadtest.scenario import Scenario, complete
        from loadtest.workload import METHODS, Workload, parse_mix
        from marquee_cli.calls import client_settings

        connection = connection_of(context)
        called = {
            "Recommend": (services.GATEWAY, target),
            "SearchMovies": (services.SEARCH, search_target),
        }
        embedder_called = (services.EMBEDDER, embedder_target)
        shares = parse_mix(mix)
        endpoints = {
            method: client_settings(
                connection, *called.get(method, embedder_called), timeout_s=timeout
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
            client=LoadClient.parse(client),
        )
        results = Results(f"Marquee: {name or mix}")
        results.measurements = scenario.run(
            lambda done: typer.echo(f"{done.load}: {done.per_second:,.0f}/s", err=True)
        )
        show_results(results)
        if out is not None:
            write(results, out)


def _loads(concurrency: str | None, rate: str | None, arrivals: Arrivals) -> list[Load]:
    from loadtest.load import ClosedLoop, OpenLoop

    if rate is None and concurrency is None:
        concurrency = "64"
    closed = [ClosedLoop(int(each)) for each in numbers(concurrency or "", "--concurrency")]
    opened = [OpenLoop(each, arrivals.value) for each in numbers(rate or "", "--rate")]
    return [*closed, *opened]
