"""`marquee bench published` and `growth`: sets of measurements that start the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marquee_cli.commands.bench.kit import RESULTS, kit, numbers, show_results, write
from marquee_cli.errors import CommandError
from marquee_cli.options import BUNDLE, BundleFolder

if TYPE_CHECKING:
    from loadtest.results import Results

WORK = Path("build/bench")
MILVUS_SERVER = Path(".venv-milvus/bin/milvus-server")

Out = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="JSON file to write; the page gets the same name."),
]
MilvusServer = Annotated[
    Path, typer.Option("--milvus-server", metavar="FILE", help="The milvus-server program.")
]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Folder for stores and logs.")]


def published(
    bundle: BundleFolder = BUNDLE,
    out: Out = RESULTS,
    work: Work = WORK,
    milvus_server: MilvusServer = MILVUS_SERVER,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure only what the ratios need, and for less time.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail when a ratio is out of its bounds.")
    ] = False,
) -> None:
    """Measure the published set on this machine, as `make bench` and `make bench-check` do."""
    with kit():
        from loadtest.bench import ratios
        from loadtest.bench.published import FULL, QUICK, Published

        run = Published(
            bundle=bundle,
            work=work,
            milvus_server=milvus_server,
            effort=QUICK if quick else FULL,
            log=lambda line: typer.echo(line, err=True),
        )
        with kept(run.results, out):
            run.run()
        if check and (failures := ratios.failures(run.results)):
            raise CommandError("; ".join(failures))


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
    with kit():
        from loadtest.bench.growth import Growth

        run = Growth(
            sizes=[int(each) for each in numbers(sizes, "--sizes")],
            lite_sizes=[int(each) for each in numbers(lite_sizes, "--lite-sizes")],
            work=work,
            milvus_server=milvus_server,
            seconds=duration,
            log=lambda line: typer.echo(line, err=True),
        )
        with kept(run.results, out):
            run.run()


@contextmanager
def kept(results: Results, out: Path) -> Iterator[None]:
    """Write the measurements made inside, even after a failure; only a whole run replaces the last.

    Raises:
        CommandError: Nothing was measured.
    """
    try:
        yield
    except BaseException:  # an interrupt too: an hour's figures are worth keeping
        if results.measurements:
            write(results, out.with_stem(f"{out.stem}-incomplete"))
        raise
    show_results(results)
    if not results.measurements:
        raise CommandError(f"nothing was measured; {out} is unchanged")
    write(results, out)
