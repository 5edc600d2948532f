"""EmbedderService: records in, vectors of one model version out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

from embedder_service.tower_batching import Embedded, TowerQueue
from fusion.bundle import Bundle
from fusion.features import Indexed, MovieRow, UserFields, UserRow
from fusion.records import Gender, Movie, RecordError
from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.type.v1 import types_pb2
from rpckit.errors import FieldViolation, InvalidRequestError
from rpckit.serving.call import Call

Record = TypeVar("Record", UserFields, Movie)
Row = TypeVar("Row")

_GENDERS: dict[types_pb2.Gender.ValueType, Gender | None] = {
    types_pb2.GENDER_UNSPECIFIED: None,
    types_pb2.GENDER_FEMALE: "F",
    types_pb2.GENDER_MALE: "M",
}


class EmbedderServicer:
    """Translates between the contract and the two towers."""

    def __init__(
        self,
        bundle: Bundle,
        users: TowerQueue[UserRow],
        movies: TowerQueue[MovieRow],
        *,
        max_batch: int,
    ) -> None:
        """Serve one bundle.

        Args:
            bundle: The model.
            users: Queue of its user tower.
            movies: Queue of its movie tower.
            max_batch: Most records in one request.
        """
        self._bundle = bundle
        self._users = users
        self._movies = movies
        self._max_batch = max_batch

    async def EmbedUsers(self, request: pb.EmbedUsersRequest, call: Call) -> pb.EmbedUsersResponse:
        """Embed users."""
        self._check_size("users", len(request.users))
        index = self._bundle.encoder.index_users
        indexed = _index("users", index, lambda: _users(request.users))
        embedded, queued = await self._users.embed(indexed.rows, call)
        response = pb.EmbedUsersResponse(unknown_user_rows=indexed.unknown_rows)
        response.score_scale = self._bundle.manifest.score_scale
        self._fill(response, embedded, queued)
        return response

    async def EmbedMovies(
        self, request: pb.EmbedMoviesRequest, call: Call
    ) -> pb.EmbedMoviesResponse:
        """Embed movies."""
        self._check_size("movies", len(request.movies))
        index = self._bundle.encoder.index_movies
        indexed = _index("movies", index, lambda: map(_movie, request.movies))
        embedded, queued = await self._movies.embed(indexed.rows, call)
        response = pb.EmbedMoviesResponse(unknown_movie_rows=indexed.unknown_rows)
        self._fill(response, embedded, queued)
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
        )

    def _check_size(self, field: str, size: int) -> None:
        if not 1 <= size <= self._max_batch:
            raise InvalidRequestError.of(field, f"must have 1 to {self._max_batch}, not {size}")

    def _fill(
        self,
        response: pb.EmbedUsersResponse | pb.EmbedMoviesResponse,
        embedded: Embedded,
        queued: float,
    ) -> None:
        # Field by field: messages given to a constructor are copied, and cost twice as much.
        vectors, timings = response.vectors, response.timings
        vectors.dimension = self._bundle.manifest.dimension
        vectors.data = embedded.data
        vectors.model_version = self._bundle.manifest.version
        timings.queue_us = round(queued * 1e6)
        timings.predict_us = round(embedded.predict_seconds * 1e6)


def _users(users: Iterable[types_pb2.User]) -> Iterator[UserFields]:
    for user in users:
        user_id, gender, age, occupation = user.user_id, user.gender, user.age, user.occupation
        # What is not 0 was given; only of a 0 it must be asked, which costs more than reading.
        yield (
            user_id if user_id or user.HasField("user_id") else None,
            # A number that the enum does not have stays what it is, for the encoder to refuse.
            _GENDERS[gender] if gender in _GENDERS else cast(Gender, str(gender)),
            age if age or user.HasField("age") else None,
            occupation if occupation or user.HasField("occupation") else None,
        )


def _movie(movie: types_pb2.Movie) -> Movie:
    return Movie(
        movie_id=movie.movie_id or None,
        title=movie.title,
        year=movie.year or None,
        genres=tuple(movie.genres),
    )


def _index(
    field: str,
    index: Callable[[Iterable[Record]], Indexed[Row]],
    records: Callable[[], Iterable[Record]],
) -> Indexed[Row]:
    try:
        return index(records())
    except RecordError:
        raise InvalidRequestError(_violations(field, index, records())) from None


def _violations(
    field: str, index: Callable[[Iterable[Record]], Indexed[Row]], records: Iterable[Record]
) -> list[FieldViolation]:
    """Name the first wrong field of every bad record, so that one refusal tells them all."""
    violations = []
    for row, record in enumerate(records):
        try:
            index([record])
        except RecordError as error:
            violations.append(FieldViolation(f"{field}[{row}].{error.field}", error.reason))
    return violations
