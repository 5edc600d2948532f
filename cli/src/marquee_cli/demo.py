"""`marquee demo`: run every step once, from data to recommendations, and reuse earlier results."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fusion.bundle import Bundle, BundleError
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.type.v1 import types_pb2
from marquee_cli.calls import connected
from marquee_cli.dataset import Source, obtain, read_catalogue, read_source
from marquee_cli.environment import movielens_dir
from marquee_cli.errors import CommandError
from marquee_cli.indexing import movie_messages
from marquee_cli.options import HOST, Connection
from marquee_cli.recommendation import build_request, fetch, footer, table
from marquee_cli.serving import ANY_PORTS, suite_of_one_each
from marquee_cli.terminal import progress_bar
from marquee_cli.train import preset_for, train
from suite.index_builder import build_index, find_current_index
from suite.interruption import Interrupted, interruptible
from suite.process import ProcessError
from suite.server_process import ServerProcess
from suite.services import EMBEDDER, SEARCH
from training.config import PRESETS

STEPS = 5
NO_TLS = Connection(None, None, None, None, None)

NEXT = """\
What to try next:
  marquee serve all{options}
      keeps the three services running; then, in another terminal:
  marquee recommend -a 25 -g M -j programmer --genre Sci-Fi --min-year 1980
  marquee verify{data}
      compares the services' lists with those of Paddle alone
  grpcurl -plaintext -d '{{"user": {{"age": 25, "gender": "GENDER_MALE", "occupation": 4}}}}' \\
      localhost:50050 marquee.recommender.v1.RecommenderService/Recommend"""


def demo(build: Path, *, source: Path | None, synthetic: bool) -> None:
    """Get data, train, serve, index, recommend and stop.

    Args:
        build: Folder for all output.
        source: Folder or zip of MovieLens-1M. None: see `dataset.obtain`.
        synthetic: Use a synthetic data set.

    Raises:
        CommandError: A step failed.
        KeyboardInterrupt: The user interrupted it; all services have been stopped.
    """
    started = time.monotonic()
    data, bundle, logs = build / "data", build / "bundle", build / "logs"
    try:
        with interruptible():
            _step(1, "data")
            found = _ensure_data(data, source, synthetic)
            print(f"      {found}")
            _step(2, "model")
            print(f"      {_ensure_model(data, build / 'training', bundle, found)}")
            _step(3, "the three services")
            suite = suite_of_one_each(
                host=HOST,
                ports=ANY_PORTS,
                bundle=bundle,
                milvus_uri=str(build / "milvus.db"),
                connection=NO_TLS,
                logs=logs,
            )
            with suite:
                embedder, search, gateway = suite.servers
                for server in suite.servers:
                    print(f"      {server.name:9} {server.target}")
                _step(4, "index")
                movies = movie_messages(read_catalogue(data))
                print(f"      {asyncio.run(_ensure_index(embedder, search, movies))}")
                suite.wait_until_ready()
                _step(5, "five films for a male student of 25 to 34: -a 25 -g M -j 4")
                request = build_request(age=25, gender="M", occupation="4", page_size=5)
                response = asyncio.run(fetch(NO_TLS, gateway.target, request))
    except Interrupted:
        sys.stderr.write("marquee: interrupted; completed steps are kept for the next run\n")
        raise KeyboardInterrupt from None
    except ProcessError as error:
        raise CommandError(str(error)) from None
    print()
    print("\n".join(table(response)))
    print()
    print(footer(response)[-1])
    print(f"Done in {time.monotonic() - started:.0f} s; the services are stopped.\n")
    options = "" if build == Path("build") else f" --bundle {bundle} --milvus-uri {build}/milvus.db"
    print(NEXT.format(options=options, data=options and f" --bundle {bundle} --data {data}"))


def _step(number: int, what: str) -> None:
    print(f"[{number}/{STEPS}] {what}", flush=True)


def _ensure_data(data: Path, source: Path | None, synthetic: bool) -> Source:
    """Return the existing data set if it is the requested one, else get it."""
    try:
        found = read_source(data)
        read_catalogue(data)
    except CommandError:
        return obtain(data, source=source, synthetic=synthetic)
    given = source or movielens_dir()
    if synthetic:
        fits = found.synthetic
    elif given is not None:
        fits = found.path == str(given.resolve())
    else:
        fits = True
    return found if fits else obtain(data, source=source, synthetic=synthetic)


def _ensure_model(data: Path, runs: Path, bundle: Path, found: Source) -> str:
    """Train unless there is a bundle of this data set; return a line that describes the model."""
    try:
        manifest = Bundle.load(bundle).manifest
        there = manifest.data_fingerprint == found.fingerprint
    except BundleError:
        there = False
    if not there:
        preset = preset_for(synthetic=found.synthetic)
        run = runs / f"{preset}-{found.fingerprint}"
        train(PRESETS[preset], data, run, bundle, resume=True)
        manifest = Bundle.load(bundle).manifest
    model = f"{manifest.name} {manifest.version} ({'reused' if there else 'new'})"
    figures = manifest.evaluation
    if manifest.objective == "ranking":
        popularity = figures["baseline_popularity_ndcg_at_10"]
        return (
            f"{model}: NDCG@10 {figures['ndcg_at_10']:.3f}; a list of the most popular movies has "
            f"{popularity:.3f}"
        )
    return (
        f"{model}: RMSE {figures['rmse']:.3f} stars; each movie's mean rating has "
        f"{figures['baseline_item_mean']:.3f}"
    )


async def _ensure_index(
    embedder: ServerProcess, search: ServerProcess, movies: Sequence[types_pb2.Movie]
) -> str:
    """Build the index unless there is one; return a line that describes it."""
    async with (
        connected(NO_TLS, EMBEDDER, embedder.target) as to_embedder,
        connected(NO_TLS, SEARCH, search.target) as to_search,
    ):
        model, indexes = EmbedderServiceStub(to_embedder), IndexServiceStub(to_search)
        if await find_current_index(model, indexes, len(movies)):
            return f"{len(movies):,} movies (reused)"
        with progress_bar("indexing", len(movies)) as progress:
            built = await build_index(model, indexes, movies, progress)
    return f"{built.index.name}: {built.index.movie_count:,} movies (new)"
