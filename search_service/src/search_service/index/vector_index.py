"""The seam between what is asked of a vector index and what answers it.

`ResidentIndex` (search_service.resident.resident_index) over `MilvusIndex` is what runs,
`ExactIndex` (search_service.resident.exact_index) is the oracle;
tests/contract/test_vector_index.py holds them to the words of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rpckit.errors import FieldViolation, InvalidRequestError
from search_service.index.errors import ModelMismatchError

METRIC = "IP"
"""The one metric: rows are L2-normalised by the model, so an inner product is a cosine."""


@dataclass(frozen=True, slots=True)
class Movie:
    """A movie of the catalogue."""

    movie_id: int
    """1 or more."""
    title: str
    """Without the year. Empty: unknown."""
    year: int
    """Year of release. 0: unknown."""
    genres: tuple[str, ...]
    """Names of the index's genres, in the index's order."""
    encoded: bytes = field(default=b"", init=False, repr=False, compare=False)
    """Kept by search_service.contract.messages: how a hit of this movie begins on the wire."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which movies may be found; all that is set must hold."""

    genres: tuple[str, ...] = ()
    """At least one of these, in the order in which they were asked for. Empty: any."""
    min_year: int | None = None
    """This year or later; a movie of unknown year matches no bound."""
    max_year: int | None = None
    """This year or earlier; a movie of unknown year matches no bound."""


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for one vector."""

    top_k: int
    """Most hits to return; fewer only when fewer movies match."""
    filter: Filter = EVERYTHING
    excluded: frozenset[int] = frozenset()
    """Movies that must not be found; ids that are not in the index are ignored."""


class Hit(NamedTuple):
    """A movie that was found."""

    movie: Movie
    similarity: float
    """Inner product of the query's and the movie's vector."""


Hits = list[Hit]
"""Descending by similarity; ties by ascending movie id."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """A matrix of vectors and the space that it is of."""

    values: NDArray[np.float32]
    """float32 (n, d), C-contiguous, finite."""
    model_version: str


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index is, for as long as it exists."""

    name: str
    model_version: str
    dimension: int
    genres: tuple[str, ...]
    """Each once; a genre's position here is its position in the store."""
    metric: str = METRIC
    positions: dict[str, int] = field(init=False, repr=False, compare=False)
    """Position by genre name."""

    def __post_init__(self) -> None:
        positions = {genre: position for position, genre in enumerate(self.genres)}
        object.__setattr__(self, "positions", positions)

    def accept(self, vectors: Vectors, field: str = "vectors") -> None:
        """Check that vectors are of this index's space.

        Raises:
            ModelMismatchError: They are of another model.
            InvalidRequestError: They are of the same model and another dimension.
        """
        if vectors.model_version != self.model_version:
            raise ModelMismatchError.of(
                self.name, index=self.model_version, vectors=vectors.model_version
            )
        if vectors.values.shape[1] != self.dimension:
            raise InvalidRequestError.of(
                f"{field}.dimension",
                f"is {vectors.values.shape[1]}; index {self.name!r} has {self.dimension}",
            )

    def refuse_unknown_genres(self, genres: Sequence[str], field: str) -> None:
        """Check that the index knows all of these names.

        Raises:
            InvalidRequestError: It does not; one violation for each, as in `field[2]`.
        """
        violations = [
            FieldViolation(f"{field}[{n}]", f"index {self.name!r} has no genre {genre!r}")
            for n, genre in enumerate(genres)
            if genre not in self.positions
        ]
        if violations:
            raise InvalidRequestError(violations)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index as it is now."""

    spec: IndexSpec
    movie_count: int
    active: bool
    engine: str
    """What answers a search, for example `milvus FLAT` or `resident exact`."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What an activation did."""

    index: IndexInfo
    previous: str
    """The index that was active before; empty: none."""


class VectorIndex(Protocol):
    """Named indexes of movie vectors, of which one is active.

    Its caller has validated ranges (see search_service.contract.validation); what depends on the
    state of an index is checked here. Every method may raise StoreUnavailableError, and those that
    take the name of an index IndexNotFoundError.
    """

    async def resolve(self, name: str) -> IndexSpec:
        """Return the spec of the index of this name; the empty name means the active one.

        Cheap enough for every request.

        Raises:
            NoActiveIndexError: The name is empty and nothing is active.
        """
        ...

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """Find the movies with the largest inner product for each row.

        Args:
            index: As resolved.
            vectors: One row for each query.
            queries: What is asked for each row.

        Returns:
            The hits of each row.

        Raises:
            ModelMismatchError: The vectors are of another model than the index.
            InvalidRequestError: Wrong dimension, or a filter names an unknown genre.
        """
        ...

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, Movie]:
        """Return those of the movies that the index has, by id."""
        ...

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[Movie]:
        """Return the first movies with an id above `after`, ascending by id."""
        ...

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """Make an empty index.

        Raises:
            IndexExistsError: The name is taken.
        """
        ...

    async def upsert(self, index: IndexSpec, movies: Sequence[Movie], vectors: Vectors) -> None:
        """Write movies, each id once, with a vector each; those that exist are replaced.

        When it returns, every later read of this process sees them.

        Raises:
            ModelMismatchError: The vectors are of another model than the index.
            InvalidRequestError: Wrong dimension, or a movie has an unknown genre.
        """
        ...

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """Delete movies; ids that are not there are ignored. Seen by every later read."""
        ...

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """Make an index the active one, atomically.

        Args:
            index: Which one.
            expected: Movies that it must hold. None: any number but none.

        Raises:
            CountMismatchError: It holds another number, or none.
        """
        ...

    async def list_indexes(self) -> list[IndexInfo]:
        """Return all indexes, ascending by name."""
        ...

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """Return an index as it is now."""
        ...

    async def drop(self, index: IndexSpec) -> None:
        """Delete an index and its movies.

        Raises:
            IndexActiveError: It is the active one.
        """
        ...

    async def check_store(self) -> None:
        """Return if indexes can be built.

        Raises:
            NotReadyError: The store cannot be reached.
        """
        ...

    async def check_active(self) -> None:
        """Return if searches can be answered.

        Raises:
            NotReadyError: The store cannot be reached, no index is active, or the active one is
                not loaded or not what it says it is.
        """
        ...
