"""`marquee similar`: build the request, call the gateway and print the response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee_cli.calls import connected
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from marquee_cli.recommendation import (
    CALL_SECONDS,
    as_dict,
    check_numbers,
    movie_filter,
    movie_ids,
    movie_table,
)
from suite.services import GATEWAY


def build_request(
    liked: Sequence[str],
    *,
    disliked: Sequence[str] = (),
    page_size: int | None = None,
    page_token: str = "",
    genres: Sequence[str] = (),
    min_year: int | None = None,
    max_year: int | None = None,
    exclude: Sequence[str] = (),
    diversity: float = 0,
) -> pb.SimilarMoviesRequest:
    """Return a request without the fields that are None; the services check ranges.

    Args:
        liked: Comma-separated ids of movies to be like, as in `1,2`.
        disliked: The same of movies to be unlike.
        page_size: Number of movies on a page.
        page_token: Token from the previous page.
        genres: Genre names; a movie must have at least one of them.
        min_year: First year of release.
        max_year: Last year of release.
        exclude: Comma-separated ids of movies to leave out.
        diversity: How much to avoid movies that are alike.

    Raises:
        CommandError: An id is no number, or a number does not fit into its field.
    """
    check_numbers({"count": page_size, "min-year": min_year, "max-year": max_year})
    try:
        return pb.SimilarMoviesRequest(
            liked_movie_ids=movie_ids("IDS", liked),
            disliked_movie_ids=movie_ids("--dislike", disliked),
            filter=movie_filter(genres, min_year, max_year),
            exclude_movie_ids=movie_ids("--exclude", exclude),
            diversity=diversity,
            page_size=page_size,
            page_token=page_token,
        )
    except ValueError as error:  # an id that int64 cannot hold
        raise CommandError(str(error)) from None


def similar(
    connection: Connection, target: str, request: pb.SimilarMoviesRequest, *, as_json: bool
) -> None:
    """Call the gateway and print its response.

    Raises:
        CommandError: It cannot be reached or refuses.
    """
    response = asyncio.run(_fetch(connection, target, request))
    if as_json:
        print(json.dumps(as_dict(response), indent=2, ensure_ascii=False))
        return
    rows = [(each.rank, each.movie, each.similarity) for each in response.movies]
    print("\n".join(movie_table("Similarity", rows)))
    print()
    print("\n".join(footer(response)))


def footer(response: pb.SimilarMoviesResponse) -> list[str]:
    """Return the lines below the table: what is missing, next page, model, index and time."""
    lines = []
    if not response.movies:
        lines.append("No movie matches.")
    if response.unknown_movie_ids:
        unknown = ", ".join(map(str, response.unknown_movie_ids))
        lines.append(f"Not in the index, and ignored: {unknown}.")
    if response.next_page_token:
        lines.append(f"Next page: --page-token {response.next_page_token}")
    lines.append(
        f"model {response.model_version}, index {response.index}, "
        f"{response.timings.total_us / 1000:.1f} ms"
    )
    return lines


async def _fetch(
    connection: Connection, target: str, request: pb.SimilarMoviesRequest
) -> pb.SimilarMoviesResponse:
    async with connected(connection, GATEWAY, target) as channel:
        return await RecommenderServiceStub(channel).SimilarMovies(request, timeout=CALL_SECONDS)
