"""Declaration of `marquee index`."""

from __future__ import annotations

from typing import Annotated

import typer

from marquee_cli.options import (
    DATA,
    EMBEDDER,
    SEARCH,
    DataFolder,
    EmbedderTarget,
    Json,
    SearchTarget,
    connection_of,
)

Interactions = Annotated[
    bool,
    typer.Option(
        "--interactions",
        help="Record every rating of the data set as an interaction, too, so that users of the "
        "data set are not shown what they have rated. A million takes a minute or more.",
    ),
]


def index(
    context: typer.Context,
    data: DataFolder = DATA,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    interactions: Interactions = False,
    as_json: Json = False,
) -> None:
    """Build the index of the catalogue beside the active one, then activate it."""
    from marquee_cli.indexing import rebuild

    rebuild(
        connection_of(context),
        data,
        embedder_target,
        search_target,
        with_interactions=interactions,
        as_json=as_json,
    )
