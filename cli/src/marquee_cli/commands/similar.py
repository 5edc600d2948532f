"""Declaration of `marquee similar`."""

from __future__ import annotations

from typing import Annotated

import typer

from marquee_cli.options import (
    GATEWAY,
    Count,
    Diversity,
    GatewayTarget,
    Genres,
    Json,
    MaxYear,
    MinYear,
    PageToken,
    connection_of,
)


def similar(
    context: typer.Context,
    movies: Annotated[
        list[str], typer.Argument(metavar="IDS", help="Movies to be like, as in 1,260 or 1 260.")
    ],
    dislike: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Movies to be unlike, as in 1,260; may be repeated."),
    ] = None,
    count: Count = None,
    genre: Genres = None,
    min_year: MinYear = None,
    max_year: MaxYear = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Movies to leave out, as in 1,260; may be repeated."),
    ] = None,
    diversity: Diversity = 0,
    page_token: PageToken = "",
    target: GatewayTarget = GATEWAY,
    as_json: Json = False,
) -> None:
    """Find the movies that are most like given ones."""
    from marquee_cli.similarity import build_request, similar

    request = build_request(
        movies,
        disliked=dislike or (),
        page_size=count,
        page_token=page_token,
        genres=genre or (),
        min_year=min_year,
        max_year=max_year,
        exclude=exclude or (),
        diversity=diversity,
    )
    similar(connection_of(context), target, request, as_json=as_json)
