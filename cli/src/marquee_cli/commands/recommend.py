"""Declaration of `marquee recommend`."""

from __future__ import annotations

from typing import Annotated

import typer

from fusion.records import Gender
from marquee_cli.options import (
    AGE_HELP,
    DATA,
    EMBEDDER,
    GATEWAY,
    OCCUPATION_HELP,
    SEARCH,
    Count,
    DataFolder,
    Diversity,
    EmbedderTarget,
    GatewayTarget,
    Genres,
    Json,
    MaxYear,
    MinYear,
    PageToken,
    SearchTarget,
    connection_of,
)


def recommend(
    context: typer.Context,
    age: Annotated[int | None, typer.Option("-a", "--age", metavar="YEARS", help=AGE_HELP)] = None,
    gender: Annotated[
        Gender | None,
        typer.Option(
            "-g", "--gender", metavar="F|M", case_sensitive=False, help="F (female) or M (male)."
        ),
    ] = None,
    occupation: Annotated[
        str | None,
        typer.Option("-j", "--occupation", metavar="NAME|NUMBER", help=OCCUPATION_HELP + "."),
    ] = None,
    user_id: Annotated[
        int | None,
        typer.Option(
            "-u", "--user-id", metavar="ID", help="Id of a user of the data set, 1 or more."
        ),
    ] = None,
    count: Count = None,
    genre: Genres = None,
    min_year: MinYear = None,
    max_year: MaxYear = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="IDS", help="Movies not to recommend, as in 1,260; may be repeated."),
    ] = None,
    diversity: Diversity = 0,
    page_token: PageToken = "",
    index_first: Annotated[
        bool, typer.Option("-i", "--index", help="Rebuild the index first.")
    ] = False,
    target: GatewayTarget = GATEWAY,
    data: DataFolder = DATA,
    embedder_target: EmbedderTarget = EMBEDDER,
    search_target: SearchTarget = SEARCH,
    as_json: Json = False,
) -> None:
    """Recommend movies to a person. Attributes that are not given are unknown, not zero.

    --data, --embedder-target and --search-target are used only with -i.
    """
    from marquee_cli.indexing import rebuild
    from marquee_cli.recommendation import build_request, recommend

    request = build_request(
        user_id=user_id,
        gender=gender,
        age=age,
        occupation=occupation,
        page_size=count,
        page_token=page_token,
        genres=genre or (),
        min_year=min_year,
        max_year=max_year,
        exclude=exclude or (),
        diversity=diversity,
    )
    if index_first:
        rebuild(connection_of(context), data, embedder_target, search_target, quiet=as_json)
    recommend(connection_of(context), target, request, as_json=as_json)
