"""EmbedderService: records in, vectors of one model version out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar, cast

from embedder_service.batched_embedding import BatchedEmbedding, EmbeddedRows
from fusion.bundle import Bundle
from fusion.features import Indexed, MovieRow, UserFields, UserRow
from fusion.records import Gender, Movie, RecordError
from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.type.v1 import types_pb2
from rpckit.errors import FieldViolation
from rpckit.field_limits import limits_of
from rpckit.refused_rows import RefusedRows
from rpckit.serving.call import Call

Record = TypeVar("Record", UserFields, Movie)
Row = TypeVar("Row")

USERS = limits_of(pb.EmbedUsersRequest, "users")
MOVIES = limits_of(pb.EmbedMoviesRequest, "movies")

_GENDERS: dict[types_pb2.Gender.ValueType, Gender | None] = {
    types_pb2.GENDER_UNSPECIFIED: None,
    types_pb2.GENDER_FEMALE: "F",
    types_pb2.GENDER_MALE: "M",
}

_SCORE_KINDS: dict[str, types_pb2.ScoreKind.ValueType] = {
    "rating": types_pb2.SCORE_KIND_PREDICTED_RATING,
    "ranking": types_pb2.SCORE_KIND_AFFINITY,
}


class EmbedderServicer:
    """Implements marquee.embedder.v1.EmbedderService."""

    def __init__(
        self,
        bundle: Bundle,
        users: BatchedEmbedding[UserRow],
        movies: BatchedEmbedding[MovieRow],
        *,
        max_batch: int,
    ) -> None:
        """Serve one bundle.

        Args:
            bundle: The model.
            users: Embeds users, in batches.
            movies: Embeds movies, in batches.
            max_batch: Most records in one request.
        """
        self._bundle = bundle
        self._users = users
        self._movies = movies
        self._users_allowed = replace(USERS.items, max=max_batch)
        self._movies_allowed = replace(MOVIES.items, max=max_batch)
        self._max_batch = max_batch
        self._score_kind = _SCORE_KINDS.get(
            bundle.manifest.objective, types_pb2.SCORE_KIND_UNSPECIFIED
        )

    async def EmbedUsers(self, request: pb.EmbedUsersRequest, call: Call) -> pb.EmbedUsersResponse:
        """Embed users."""
        self._users_allowed.check("users", len(request.users))
        look_up = self._bundle.encoder.index_users
        refused = RefusedRows(partial_success=request.return_partial_success)
        looked_up = _look_up("users", look_up, lambda: _users(request.users), refused)
        embedded, queue_seconds = await self._users.embed(looked_up.rows, call)
        response = pb.EmbedUsersResponse(unknown_user_rows=looked_up.unknown_rows)
        response.score_scale = self._bundle.manifest.score_scale
        if refused:
            response.refused_users.extend(refused.messages())
        response.score_kind = self._score_kind
        for row, movie_ids in looked_up.ignored.items():
            response.ignored_movies.add(row=row, movie_ids=movie_ids)
        self._fill(response, embedded, queue_seconds)
        return response

    async def EmbedMovies(
        self, request: pb.EmbedMoviesRequest, call: Call
    ) -> pb.EmbedMoviesResponse:
        """Embed movies."""
        self._movies_allowed.check("movies", len(request.movies))
        look_up = self._bundle.encoder.index_movies
        refused = RefusedRows(partial_success=False)
        looked_up = _look_up("movies", look_up, lambda: map(_movie, request.movies), refused)
        embedded, queue_seconds = await self._movies.embed(looked_up.rows, call)
        response = pb.EmbedMoviesResponse(unknown_movie_rows=looked_up.unknown_rows)
        self._fill(response, embedded, queue_seconds)
        return response

    async def GetModel(
        self,
        request: pb.GetModelRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.GetModelResponse:
        """Describe the model."""
        manifest = self._bundle.manifest
        vocabularies = self._bundle.encoder.vocabularies
        return pb.GetModelResponse(
            name=manifest.name,
            version=manifest.version,
            objective=manifest.objective,
            dimension=manifest.dimension,
            metric=manifest.metric,
            score_scale=manifest.score_scale,
            paddle_version=manifest.paddle_version,
            data_fingerprint=manifest.data_fingerprint,
            vocabulary_sizes=vocabularies.sizes(),
            evaluation=manifest.evaluation,
            max_batch=self._max_batch,
            genres=vocabularies.genre.values,
            score_kind=self._score_kind,
            histories=self._bundle.encoder.histories,
        )

    def _fill(
        self,
        response: pb.EmbedUsersResponse | pb.EmbedMoviesResponse,
        embedded: EmbeddedRows,
        queue_seconds: float,
    ) -> None:
        # Field by field: messages given to a constructor are copied, and cost twice as much.
        vectors, timings = response.vectors, response.timings
        vectors.dimension = self._bundle.manifest.dimension
        vectors.data = embedded.data
        vectors.model_version = self._bundle.manifest.version
        timings.queue_us = round(queue_seconds * 1e6)
        timings.predict_us = round(embedded.predict_seconds * 1e6)


def _users(users: Iterable[types_pb2.User]) -> Iterator[UserFields]:
    for user in users:
        user_id, gender, age, occupation = user.user_id, user.gender, user.age, user.occupation
        # What is not 0 was given; only a 0 needs HasField, which costs more than reading.
        yield (
            user_id if user_id or user.HasField("user_id") else None,
            # A number that the enum does not have stays what it is, for the encoder to refuse.
            _GENDERS[gender] if gender in _GENDERS else cast(Gender, str(gender)),
            age if age or user.HasField("age") else None,
            occupation if occupation or user.HasField("occupation") else None,
            user.liked_movie_ids,
            user.disliked_movie_ids,
        )


def _movie(movie: types_pb2.Movie) -> Movie:
    return Movie(
        movie_id=movie.movie_id or None,
        title=movie.title,
        year=movie.year or None,
        genres=tuple(movie.genres),
    )


def _look_up(
    field: str,
    look_up: Callable[[Iterable[Record]], Indexed[Row]],
    records: Callable[[], Iterable[Record]],
    refused: RefusedRows,
) -> Indexed[Row]:
    """Look up the valid records of a request; refuse each other one for its first bad field."""
    try:
        return look_up(records())
    except RecordError:
        pass  # one by one, to find all of them
    rows: list[Row] = []
    unknown_rows: list[int] = []
    ignored: dict[int, list[int]] = {}
    for row, record in enumerate(records()):
        try:
            found = look_up([record])
        except RecordError as error:
            violation = FieldViolation(f"{field}[{row}].{error.field}", error.reason)
            refused.add(row, [violation])
        else:
            rows += found.rows
            unknown_rows += [row] * len(found.unknown_rows)
            ignored.update((row, movie_ids) for movie_ids in found.ignored.values())
    refused.check()
    return Indexed(rows, unknown_rows, ignored)
