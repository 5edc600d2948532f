"""`marquee data`: where the data come from, and the catalogue that is indexed.

The folder that it fills holds `movies.jsonl`, the catalogue, and `source.json`, which says where
the ratings are; they are read there again, not copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fusion.records import Movie
from marquee_cli.environment import movielens_dir
from marquee_cli.errors import CommandError
from training import catalogue, movielens
from training.download import download
from training.errors import DataError, TrainingError
from training.synthetic import write as write_synthetic

CATALOGUE, SOURCE = "movies.jsonl", "source.json"
SHOWN = 10
"""Bad lines that are listed; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set is, and what it holds."""

    path: str
    """Folder or zip of the three files."""
    synthetic: bool
    skip_bad_lines: bool
    users: int
    movies: int
    ratings: int
    fingerprint: str
    """Equal where the files are."""

    def __str__(self) -> str:
        kind = "synthetic data" if self.synthetic else "MovieLens"
        return (
            f"{kind} in {self.path}: {self.ratings:,} ratings, {self.users:,} users, "
            f"{self.movies:,} movies"
        )


def obtain(
    out: Path, *, source: Path | None, synthetic: bool, skip_bad_lines: bool = False
) -> Source:
    """Find, fetch or make a data set, check every line of it, and write its catalogue.

    Args:
        out: Folder to fill.
        source: Folder or zip of MovieLens-1M. None: the folder that MOVIELENS_DIR names, else a
            download, else, with a word of warning, a synthetic set.
        synthetic: Make a synthetic set, whatever there is.
        skip_bad_lines: List malformed lines and go on.

    Raises:
        CommandError: A file cannot be read or written, or a line is malformed.
    """
    made = synthetic
    with as_command_errors():
        if synthetic:
            path = make_synthetic(out)
        elif (given := source or movielens_dir()) is not None:
            path = given
        else:
            try:
                path = download(out)
            except DataError as error:
                print(f"{error}\nA synthetic set in the same format takes its place.")
                path, made = make_synthetic(out), True
        dataset = movielens.load(path, skip_bad_lines=skip_bad_lines)
        catalogue.write_catalogue(out / CATALOGUE, dataset.movies)
    _list(dataset.skipped)
    found = Source(
        path=str(path.resolve()),
        synthetic=made,
        skip_bad_lines=skip_bad_lines,
        users=len(dataset.users),
        movies=len(dataset.movies),
        ratings=len(dataset.ratings),
        fingerprint=dataset.fingerprint,
    )
    (out / SOURCE).write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    return found


def write_catalogue(movies_file: Path, out: Path, *, skip_bad_lines: bool) -> None:
    """Write the catalogue of a raw movies file and say what is in it.

    Args:
        movies_file: `id::title (year)::genre|genre`, a line each.
        out: Folder to write it to.
        skip_bad_lines: List malformed lines and go on.

    Raises:
        CommandError: A file cannot be read or written, or a line is malformed.
    """
    with as_command_errors():
        movies, skipped = movielens.read_movies(movies_file, skip_bad_lines=skip_bad_lines)
        catalogue.write_catalogue(out / CATALOGUE, movies)
    _list(skipped)
    print(f"{out / CATALOGUE}: {len(movies):,} movies")


def read_source(data: Path) -> Source:
    """Return what `marquee data` noted in its folder.

    Raises:
        CommandError: It was not run, or its note is damaged.
    """
    try:
        return Source(**json.loads((data / SOURCE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CommandError(f"{data} holds no data; `marquee data` gets them") from None
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"{data / SOURCE} cannot be read: {error}") from None


def load(source: Source) -> movielens.Dataset:
    """Read a data set where it was found.

    Raises:
        CommandError: It is not there any more or cannot be read.
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
    """Make the synthetic set and return its folder."""
    folder = out / "synthetic"
    write_synthetic(folder)
    return folder


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Let errors of the training package end the command with their message.

    Raises:
        CommandError: Instead of them, and of what the file system refuses.
    """
    try:
        yield
    except TrainingError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error


def _list(skipped: Sequence[movielens.BadLine]) -> None:
    for line in skipped[:SHOWN]:
        print(f"skipped {line}")
    if len(skipped) > SHOWN:
        print(f"skipped {len(skipped)} lines in all")
