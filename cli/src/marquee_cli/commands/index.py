"""Declaration of `marquee index`."""

from __future__ import annotations

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


def index(
    context: typer.Context,
    data: DataFolder = DATA,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    as_json: Json = False,
) -> None:
    """Build the index of the catalogue beside the active one, then activate it."""
    from marquee_cli.indexing import rebuild

    rebuild(connection_of(context), data, embedder_target, search_target, as_json=as_json)
