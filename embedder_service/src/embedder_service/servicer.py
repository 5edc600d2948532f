"""EmbedderService: records in, vectors of one model version out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from embedder_service.embed import TowerQueue
from fusion.bundle import Bundle, Vectors
from fusion.features import Encoded
from fusion.records import Gender, Movie, RecordError, User
from marquee.embedder.v1 import embedder_pb2 as pb
from marquee.type.v1 import types_pb2
from rpckit.call import Call
from rpckit.errors import FieldViolation, InvalidRequestError

Record = TypeVar("Record", User, Movie)

_GENDERS: dict[types_pb2.Gender.ValueType, Gender | None] = {
    types_pb2.GENDER_UNSPECIFIED: None,
    types_pb2.GENDER_FEMALE: "F",
    types_pb2.GENDER_MALE: "M",
}


class EmbedderServicer:
    """Translates between the contract and the two towers."""

    def __init__(
        self, bundle: Bundle, users: TowerQueue, movies: TowerQueue, *, max_batch: int
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
        records = [_user(user) for user in request.users]
        encoded = _encode("users", self._bundle.encoder.users, records)
        rows, queued = await self._users.embed(encoded.features, call)
        return pb.EmbedUsersResponse(
            vectors=self._vectors(rows.vectors),
            unknown_user_rows=encoded.unknown_rows,
            score_scale=self._bundle.manifest.score_scale,
            timings=_timings(queued, rows.predict_seconds),
        )

    async def EmbedMovies(
        self, request: pb.EmbedMoviesRequest, call: Call
    ) -> pb.EmbedMoviesResponse:
        """Embed movies."""
        self._check_size("movies", len(request.movies))
        records = [_movie(movie) for movie in request.movies]
        encoded = _encode("movies", self._bundle.encoder.movies, records)
        rows, queued = await self._movies.embed(encoded.features, call)
        return pb.EmbedMoviesResponse(
            vectors=self._vectors(rows.vectors),
            unknown_movie_rows=encoded.unknown_rows,
            timings=_timings(queued, rows.predict_seconds),
        )

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

    def _vectors(self, rows: Vectors) -> types_pb2.Vectors:
        return types_pb2.Vectors(
            dimension=rows.shape[1],
            data=rows.astype("<f4", copy=False).tobytes(),
            model_version=self._bundle.manifest.version,
        )


def _user(user: types_pb2.User) -> User:
    return User(
        user_id=user.user_id if user.HasField("user_id") else None,
        # A number that the enum does not have stays what it is, for the encoder to refuse.
        gender=_GENDERS.get(user.gender, cast(Gender, str(user.gender))),
        age=user.age if user.HasField("age") else None,
        occupation=user.occupation if user.HasField("occupation") else None,
    )


def _movie(movie: types_pb2.Movie) -> Movie:
    return Movie(
        movie_id=movie.movie_id or None,
        title=movie.title,
        year=movie.year or None,
        genres=tuple(movie.genres),
    )


def _encode(
    field: str, encode: Callable[[Sequence[Record]], Encoded], records: Sequence[Record]
) -> Encoded:
    try:
        return encode(records)
    except RecordError:
        raise InvalidRequestError(_violations(field, encode, records)) from None


def _violations(
    field: str, encode: Callable[[Sequence[Record]], Encoded], records: Sequence[Record]
) -> list[FieldViolation]:
    """Name the first wrong field of every bad record, so that one refusal tells them all."""
    violations = []
    for row, record in enumerate(records):
        try:
            encode([record])
        except RecordError as error:
            violations.append(FieldViolation(f"{field}[{row}].{error.field}", error.reason))
    return violations


def _timings(queued: float, predicting: float) -> pb.EmbedTimings:
    return pb.EmbedTimings(queue_us=round(queued * 1e6), predict_us=round(predicting * 1e6))
