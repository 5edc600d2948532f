"""`marquee recommend`: build the request, call the gateway and print the response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from fusion.records import Gender, RecordError, User, occupation_code
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from marquee_cli.calls import connected
from marquee_cli.errors import CommandError
from marquee_cli.options import Connection
from suite.services import GATEWAY

GENDERS = {
    None: types_pb2.GENDER_UNSPECIFIED,
    "F": types_pb2.GENDER_FEMALE,
    "M": types_pb2.GENDER_MALE,
}
CALL_SECONDS = 10.0
"""Budget of a call."""
TITLE_WIDTH = 60
"""Longer titles are cut in the table, never in JSON."""


def build_request(
    *,
    user_id: int | None = None,
    gender: Gender | None = None,
    age: int | None = None,
    occupation: str | None = None,
    page_size: int | None = None,
    page_token: str = "",
    genres: Sequence[str] = (),
    min_year: int | None = None,
    max_year: int | None = None,
    exclude: Sequence[str] = (),
    diversity: float = 0,
) -> pb.RecommendRequest:
    """Return a request without the fields that are None; the services check ranges.

    Args:
        user_id: Id in the data set.
        gender: "F" or "M".
        age: Age in years.
        occupation: Name or code of an occupation.
        page_size: Number of movies on a page.
        page_token: Token from the previous page.
        genres: Genre names; a movie must have at least one of them.
        min_year: First year of release.
        max_year: Last year of release.
        exclude: Comma-separated movie ids, as in `1,2`.
        diversity: How much to avoid movies that are alike.

    Raises:
        CommandError: There is no such occupation, or a number does not fit into its field.
    """
    check_numbers({"age": age, "count": page_size, "min-year": min_year, "max-year": max_year})
    try:
        request = pb.RecommendRequest(
            user=user_message(
                User(user_id, gender, age, occupation_code(occupation) if occupation else None)
            ),
            page_size=page_size,
            page_token=page_token,
            filter=movie_filter(genres, min_year, max_year),
            exclude_movie_ids=movie_ids("--exclude", exclude),
            diversity=diversity,
        )
    except RecordError as error:
        raise CommandError(f"{error.reason}; `marquee recommend -h` lists all") from None
    except ValueError as error:  # an id that int64 cannot hold
        raise CommandError(str(error)) from None
    return request


def user_message(user: User) -> types_pb2.User:
    """Return a user as a message of the contract."""
    return types_pb2.User(
        user_id=user.user_id,
        gender=GENDERS[user.gender],
        age=user.age,
        occupation=user.occupation,
    )


def recommend(
    connection: Connection, target: str, request: pb.RecommendRequest, *, as_json: bool
) -> None:
    """Call the gateway and print its response.

    Raises:
        CommandError: It cannot be reached or refuses.
    """
    response = asyncio.run(fetch(connection, target, request))
    if as_json:
        print(json.dumps(as_dict(response), indent=2, ensure_ascii=False))
        return
    print("\n".join(table(response)))
    print()
    print("\n".join(footer(response)))


async def fetch(
    connection: Connection, target: str, request: pb.RecommendRequest
) -> pb.RecommendResponse:
    """Return the response of the gateway.

    Raises:
        CommandError: It cannot be reached or refuses.
    """
    async with connected(connection, GATEWAY, target) as channel:
        return await RecommenderServiceStub(channel).Recommend(request, timeout=CALL_SECONDS)


def table(response: pb.RecommendResponse) -> list[str]:
    """Return the lines of a table with the columns Top, Ids, Title and Score."""
    return movie_table(
        "Score", [(each.rank, each.movie, each.score) for each in response.recommendations]
    )


def movie_table(heading: str, movies: Sequence[tuple[int, types_pb2.Movie, float]]) -> list[str]:
    """Return the lines of a table of movies.

    Args:
        heading: Heading of the last column.
        movies: Rank, movie and the number for the last column.
    """
    rows = [("Top", "Ids", "Title", heading)]
    for rank, movie, number in movies:
        year = f" ({movie.year})" if movie.year else ""
        title = movie.title
        if len(title) > TITLE_WIDTH:
            title = title[: TITLE_WIDTH - 1] + "…"
        rows.append((str(rank), str(movie.movie_id), title + year, f"{number:.4f}"))
    top, ids, titles, scores = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{r:>{top}}  {i:>{ids}}  {t:<{titles}}  {s:>{scores}}" for r, i, t, s in rows]


def footer(response: pb.RecommendResponse) -> list[str]:
    """Return the lines below the table: warnings, next page, model, index and time."""
    lines = []
    if not response.recommendations:
        lines.append("No movie matches.")
    if response.user_id_status == pb.USER_ID_STATUS_UNKNOWN:
        lines.append("The model does not know this user id; the list is for an unknown user.")
    if response.next_page_token:
        lines.append(f"Next page: --page-token {response.next_page_token}")
    lines.append(
        f"model {response.model_version}, index {response.index}, "
        f"{response.timings.total_us / 1000:.1f} ms"
    )
    return lines


def as_dict(response: Message) -> dict[str, object]:
    """Return the response as a dict with the field names of the contract."""
    answer: dict[str, object] = MessageToDict(response, preserving_proto_field_name=True)
    return answer


def check_numbers(options: Mapping[str, int | None]) -> None:
    """See that numbers fit into their fields.

    Raises:
        CommandError: One does not.
    """
    for name, number in options.items():
        if number is not None and not 0 <= number < 2**32:
            raise CommandError(f"--{name}: {number} is out of range")


def movie_filter(
    genres: Sequence[str], min_year: int | None, max_year: int | None
) -> search_pb2.MovieFilter | None:
    """Return a filter; None if it has no conditions."""
    if not genres and min_year is None and max_year is None:
        return None
    return search_pb2.MovieFilter(genres=genres, min_year=min_year, max_year=max_year)


def movie_ids(option: str, texts: Sequence[str]) -> list[int]:
    """Return the ids in texts such as `1,260`.

    Raises:
        CommandError: One of them is no number.
    """
    try:
        return [int(part) for text in texts for part in text.split(",")]
    except ValueError as error:
        wrong = str(error).partition(": ")[2]
        raise CommandError(f"{option} takes movie ids, not {wrong}") from None
