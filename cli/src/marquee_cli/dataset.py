"""`marquee data`: find or generate the data set, and write its catalogue.

The output folder holds `movies.jsonl`, the catalogue, and `source.json`, the location of the data
set. Ratings are not copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fusion.bundle import BundleError
from fusion.records import Movie
from marquee_cli.environment import movielens_dir
from marquee_cli.errors import CommandError
from training import catalogue, movielens
from training.download import download
from training.errors import DataError, TrainingError
from training.synthetic import write as write_synthetic

CATALOGUE, SOURCE = "movies.jsonl", "source.json"
MAX_LISTED = 10
"""Most malformed lines that are listed; if there are more, their number is printed."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set is, and what it holds."""

    path: str
    """Folder or zip of the three files."""
    synthetic: bool
    """Whether the data set is synthetic."""
    skip_bad_lines: bool
    """Whether malformed lines are skipped."""
    users: int
    """Number of users."""
    movies: int
    """Number of movies."""
    ratings: int
    """Number of ratings."""
    fingerprint: str
    """12 hexadecimal digits that identify the content of the files."""

    def __str__(self) -> str:
        kind = "synthetic data" if self.synthetic else "MovieLens"
        return (
            f"{kind} in {self.path}: {self.ratings:,} ratings, {self.users:,} users, "
            f"{self.movies:,} movies"
        )


def obtain(
    out: Path, *, source: Path | None, synthetic: bool, skip_bad_lines: bool = False
) -> Source:
    """Find, download or generate a data set, check every line, and write the catalogue.

    Args:
        out: Folder to fill.
        source: Folder or zip of MovieLens-1M. None: the folder that MOVIELENS_DIR names, else a
            download, else a synthetic data set, with a message that says so.
        synthetic: Always generate a synthetic data set.
        skip_bad_lines: Skip malformed lines, and list them.

    Raises:
        CommandError: A file cannot be read or written, or a line is malformed.
    """
    is_synthetic = synthetic
    with as_command_errors():
        if synthetic:
            path = make_synthetic(out)
        elif (given := source or movielens_dir()) is not None:
            path = given
        else:
            try:
                path = download(out)
            except DataError as error:
                print(f"{error}\nA synthetic data set in the same format is used instead.")
                path, is_synthetic = make_synthetic(out), True
        dataset = movielens.load(path, skip_bad_lines=skip_bad_lines)
        catalogue.write_catalogue(out / CATALOGUE, dataset.movies)
    _print_skipped(dataset.skipped)
    found = Source(
        path=str(path.resolve()),
        synthetic=is_synthetic,
        skip_bad_lines=skip_bad_lines,
        users=len(dataset.users),
        movies=len(dataset.movies),
        ratings=len(dataset.ratings),
        fingerprint=dataset.fingerprint,
    )
    (out / SOURCE).write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    return found


def write_catalogue(movies_file: Path, out: Path, *, skip_bad_lines: bool) -> None:
    """Write the catalogue of a raw movies file and print how many movies it has.

    Args:
        movies_file: File with a line `id::title (year)::genre|genre` for each movie.
        out: Folder to write the catalogue to.
        skip_bad_lines: Skip malformed lines, and list them.

    Raises:
        CommandError: A file cannot be read or written, or a line is malformed.
    """
    with as_command_errors():
        movies, skipped = movielens.read_movies(movies_file, skip_bad_lines=skip_bad_lines)
        catalogue.write_catalogue(out / CATALOGUE, movies)
    _print_skipped(skipped)
    print(f"{out / CATALOGUE}: {len(movies):,} movies")


def read_source(data: Path) -> Source:
    """Return the source that `marquee data` wrote to its folder.

    Raises:
        CommandError: The file is missing or damaged.
    """
    try:
        return Source(**json.loads((data / SOURCE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CommandError(f"{data} holds no data; `marquee data` gets it") from None
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"{data / SOURCE} cannot be read: {error}") from None


def load(source: Source) -> movielens.Dataset:
    """Read a data set from its source.

    Raises:
        CommandError: It is missing or cannot be read.
    """
    with as_command_errors():
        return movielens.load(Path(source.path), skip_bad_lines=source.skip_bad_lines)


def read_catalogue(data: Path) -> list[Movie]:
    """Return the movies of the catalogue.

    Raises:
        CommandError: It is missing or damaged.
    """
    if not (data / CATALOGUE).is_file():
        raise CommandError(f"{data / CATALOGUE} is missing; `marquee data` writes it")
    with as_command_errors():
        return catalogue.read_catalogue(data / CATALOGUE)


def make_synthetic(out: Path) -> Path:
    """Generate the synthetic data set and return its folder."""
    folder = out / "synthetic"
    write_synthetic(folder)
    return folder


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Turn errors of training, of bundles and of the file system into errors of the command.

    Raises:
        CommandError: A TrainingError, a BundleError or an OSError was raised.
    """
    try:
        yield
    except (TrainingError, BundleError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error


def _print_skipped(skipped: Sequence[movielens.BadLine]) -> None:
    for line in skipped[:MAX_LISTED]:
        print(f"skipped {line}")
    if len(skipped) > MAX_LISTED:
        print(f"skipped {len(skipped)} lines in all")
