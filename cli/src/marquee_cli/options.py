"""Options that several commands share, and their help texts.

Nothing heavy is imported here, in `commands` or in `__main__`: `marquee -h` answers at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from fusion.records import AGE_BUCKETS, MAX_AGE, MIN_AGE, OCCUPATIONS
from suite import services

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}
PASS_THROUGH = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],  # -h is passed on too, to the parser that knows the options
}

DATA = Path("build/data")
BUNDLE = Path("build/bundle")
RUN = Path("build/training")
MILVUS = "build/milvus.db"
HOST = "127.0.0.1"
GATEWAY = f"{HOST}:{services.GATEWAY.port}"
EMBEDDER = f"{HOST}:{services.EMBEDDER.port}"
SEARCH = f"{HOST}:{services.SEARCH.port}"

_AGES = ", ".join(
    f"{first} (under {after})" if first == AGE_BUCKETS[0] else f"{first} ({first} to {after - 1})"
    for first, after in itertools.pairwise(AGE_BUCKETS)
)
AGE_HELP = (
    f"Age in years, {MIN_AGE} to {MAX_AGE}. The model uses age groups; the first age "
    f"of a group stands for it: {_AGES}, {AGE_BUCKETS[-1]} ({AGE_BUCKETS[-1]} and more)."
)
OCCUPATION_HELP = "Occupation, by its name or its number: " + ", ".join(
    f"{code} {name}" for code, name in enumerate(OCCUPATIONS)
)


@dataclass(frozen=True, slots=True)
class Connection:
    """TLS and token options, the same for every service that a command calls."""

    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_server_name: str | None
    token_file: Path | None


def connection_of(context: typer.Context) -> Connection:
    """Return the connection options, which come before the name of the command."""
    return cast("Connection", context.obj)


DataFolder = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Folder that `marquee data` filled.")
]
MovieLensPath = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="PATH",
        help="MovieLens-1M: a folder or the zip. Default: the folder that MOVIELENS_DIR names, "
        "else download it from GroupLens.",
    ),
]
BundleFolder = Annotated[
    Path, typer.Option("--bundle", metavar="DIR", help="Folder of the model bundle.")
]
MilvusUri = Annotated[
    str,
    typer.Option(
        metavar="URI",
        help="Where vectors are kept: a folder of Milvus Lite, or http://HOST:PORT of a server.",
    ),
]
GatewayTarget = Annotated[
    str, typer.Option("--target", metavar="HOST:PORT", help="Where the gateway is.")
]
EmbedderTarget = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the embedder is.")]
SearchTarget = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where the search service is.")
]
Count = Annotated[
    int | None,
    typer.Option("-n", "--count", metavar="N", help="Movies on a page, 1 to 100. Default: 10."),
]
Genres = Annotated[
    list[str] | None,
    typer.Option(
        "--genre",
        metavar="NAME",
        help="Only movies of this genre, as in Film-Noir; may be repeated.",
    ),
]
MinYear = Annotated[
    int | None,
    typer.Option("--min-year", metavar="YEAR", help="Only movies of this year or later."),
]
MaxYear = Annotated[
    int | None,
    typer.Option("--max-year", metavar="YEAR", help="Only movies of this year or earlier."),
]
PageToken = Annotated[
    str,
    typer.Option(
        "--page-token", metavar="TOKEN", help="Continue after the page that returned this token."
    ),
]
Diversity = Annotated[
    float, typer.Option(metavar="X", help="How much to avoid movies that are alike, 0 to 1.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SkipBadLines = Annotated[
    bool,
    typer.Option(
        "--skip-bad-lines", help="Count and list malformed lines instead of stopping at the first."
    ),
]
