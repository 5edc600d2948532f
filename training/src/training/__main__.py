"""`python -m training`: data, training and evaluation without the `marquee` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fusion.bundle import Bundle, BundleError
from training import machine, synthetic
from training.catalogue import write_catalogue
from training.config import Config
from training.download import MD5, URL, download
from training.errors import DataError, TrainingError
from training.movielens import BadLine, load, read_movies
from training.options import add_options, config_of


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (TrainingError, BundleError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("training: stopped; train --resume goes on from the last checkpoint", file=sys.stderr)
        code = 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    fetch = commands.add_parser("download", help="fetch MovieLens-1M from GroupLens")
    fetch.add_argument("folder", type=Path, help="where ml-1m.zip goes")
    fetch.add_argument("--url", default=URL, help="of the zip (default: %(default)s)")
    fetch.add_argument("--md5", default=MD5, help="checksum of the zip (default: %(default)s)")
    fetch.set_defaults(run=_download)

    made = commands.add_parser("synthetic", help="make a data set in the format of MovieLens-1M")
    made.add_argument("folder", type=Path, help="where the three files go")
    made.add_argument("--users", type=int, default=600, help="how many (default: %(default)s)")
    made.add_argument("--movies", type=int, default=400, help="how many (default: %(default)s)")
    made.add_argument(
        "--ratings-per-user", type=int, default=60, help="of each user (default: %(default)s)"
    )
    made.add_argument("--seed", type=int, default=0, help="of all chance (default: %(default)s)")
    made.set_defaults(run=_synthetic)

    movies = commands.add_parser(
        "movies", help="make movies.jsonl, which indexing consumes, of a raw movies file"
    )
    movies.add_argument("-f", "--file", type=Path, required=True, help="MovieID::Title::Genres")
    movies.add_argument(
        "-o", "--out", type=Path, default=Path("movies.jsonl"), help="what to write"
    )
    movies.add_argument("--skip-bad-lines", action="store_true", help="list them and go on")
    movies.set_defaults(run=_movies)

    train = commands.add_parser("train", help="train a model and export its bundle")
    train.add_argument("data", type=Path, help="folder or zip with the three files")
    train.add_argument(
        "--out", type=Path, default=Path("build/training"), help="checkpoints and report"
    )
    train.add_argument("--bundle", type=Path, default=Path("build/bundle"), help="folder to make")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    train.add_argument("--skip-bad-lines", action="store_true", help="list them and go on")
    add_options(train)
    train.set_defaults(run=_train)

    judge = commands.add_parser("evaluate", help="evaluate a bundle on its run's test ratings")
    judge.add_argument("data", type=Path, help="folder or zip that the bundle was trained on")
    judge.add_argument("--bundle", type=Path, default=Path("build/bundle"), help="to evaluate")
    judge.add_argument(
        "--out", type=Path, default=Path("build/training"), help="the --out of its training run"
    )
    judge.set_defaults(run=_evaluate)
    return parser


def _download(arguments: argparse.Namespace) -> int:
    print(download(arguments.folder, url=arguments.url, md5=arguments.md5))
    return 0


def _synthetic(arguments: argparse.Namespace) -> int:
    try:
        synthetic.write(
            arguments.folder,
            users=arguments.users,
            movies=arguments.movies,
            ratings_per_user=arguments.ratings_per_user,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise DataError(f"{error}.") from error
    return 0


def _movies(arguments: argparse.Namespace) -> int:
    movies, skipped = read_movies(arguments.file, skip_bad_lines=arguments.skip_bad_lines)
    _list(skipped)
    write_catalogue(arguments.out, movies)
    print(f"{arguments.out}: {len(movies):,} movies")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    dataset = load(arguments.data, skip_bad_lines=arguments.skip_bad_lines)
    _list(dataset.skipped)
    machine.prepare()
    from training.parallel import Workers  # imports Paddle, see `machine`
    from training.pipeline import train

    trained = train(
        config,
        dataset,
        arguments.out,
        arguments.bundle,
        resume=arguments.resume,
        workers=Workers.join(),
    )
    if trained is not None:
        print(trained.report)
        print(f"{arguments.bundle}: {trained.manifest.name} {trained.manifest.version}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    bundle, dataset = Bundle.load(arguments.bundle), load(arguments.data)
    if dataset.fingerprint != bundle.manifest.data_fingerprint:
        raise DataError(f"{arguments.data} is not the data that {arguments.bundle} is made of.")
    report = arguments.out / "report.json"
    try:
        config = Config.model_validate(json.loads(report.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report} is not the report of a training run: {error}.") from error
    machine.prepare()
    from training.pipeline import evaluate_bundle

    for name, value in evaluate_bundle(bundle, dataset, config).items():
        print(f"{value:.4f}  {name}")
    return 0


def _list(skipped: Sequence[BadLine]) -> None:
    if skipped:
        print(f"{len(skipped)} lines were skipped:", file=sys.stderr)
        for line in skipped:
            print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
