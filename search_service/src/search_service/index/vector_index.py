"""`VectorIndex`, the interface between the servicers and the engines that search, and its values.

`MilvusIndex` (search_service.store) and `ResidentIndex` over it (search_service.resident) implement
it in production; `ExactIndex` (search_service.resident) is the oracle of the tests.
tests/contract/test_vector_index_*.py test all of them against the promises made here.
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
"""The only metric: the model L2-normalises its vectors, so their inner product is the cosine."""


@dataclass(frozen=True, slots=True)
class IndexedMovie:
    """A movie of the catalogue."""

    movie_id: int
    """1 or more."""
    title: str
    """Without the year. Empty: unknown."""
    year: int
    """Year of release. 0: unknown."""
    genres: tuple[str, ...]
    """A subset of the index's genres, in the index's order."""
    encoded: bytes = field(default=b"", init=False, repr=False, compare=False)
    """Start of this movie's hit in protobuf encoding, cached by search_service.contract.messages.
    Empty: not encoded yet."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on the movies to find; a movie must meet all that are set."""

    genres: tuple[str, ...] = ()
    """A movie must have at least one of these genres, given in the request's order. Empty: any."""
    min_year: int | None = None
    """First year; a movie of unknown year meets no bound."""
    max_year: int | None = None
    """Last year; a movie of unknown year meets no bound."""


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Query:
    """What to find for one vector."""

    top_k: int
    """Number of hits to return; fewer only if fewer movies match."""
    filter: Filter = EVERYTHING
    excluded: frozenset[int] = frozenset()
    """Ids of movies to leave out; ids that the index does not have are ignored."""
    seen: NDArray[np.int64] | None = field(default=None, compare=False)
    """Ids of more movies to leave out, ascending, each once. None: no more."""

    @property
    def most_left_out(self) -> int:
        """Largest number of movies that this query can leave out."""
        return len(self.excluded) + (0 if self.seen is None else len(self.seen))


class Hit(NamedTuple):
    """A movie that a search found."""

    movie: IndexedMovie
    similarity: float
    """Inner product of the query's and the movie's vector."""


Hits = list[Hit]
"""Descending by similarity; ties by ascending movie id."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """A matrix of vectors, one a row, and the model that made them."""

    values: NDArray[np.float32]
    """float32 (n, d), C-contiguous, finite."""
    model_version: str


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What never changes about an index while it exists."""

    name: str
    model_version: str
    dimension: int
    genres: tuple[str, ...]
    """All genres, each once; stored movies refer to a genre by its position here."""
    metric: str = METRIC
    incarnation: int = field(default=0, compare=False)
    """Tells the index from one of the same name that was deleted, if the store tells them apart."""
    positions: dict[str, int] = field(init=False, repr=False, compare=False)
    """Position of each genre in `genres`."""

    def __post_init__(self) -> None:
        positions = {genre: position for position, genre in enumerate(self.genres)}
        object.__setattr__(self, "positions", positions)

    def is_same(self, other: IndexSpec) -> bool:
        """Return whether this is the same index, not one that took its name after its deletion."""
        return self == other and self.incarnation == other.incarnation

    def check_vectors(self, vectors: Vectors, field: str = "vectors") -> None:
        """Check that vectors can be compared with those of this index.

        Args:
            vectors: The vectors.
            field: Path of the request's field that holds them, for a violation.

        Raises:
            ModelMismatchError: Another model made them.
            InvalidRequestError: The same model made them, but their dimension is another one.
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

    def check_genres(self, genres: Sequence[str], field: str) -> None:
        """Check that the index has all of these genres.

        Args:
            genres: Names of genres.
            field: Path of the request's field that holds them, for violations.

        Raises:
            InvalidRequestError: A genre is unknown; there is one violation, such as `field[2]`, for
                each.
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
    """The current state of an index."""

    spec: IndexSpec
    movie_count: int
    active: bool
    engine: str
    """What answers searches of it now, for example `milvus FLAT` or `resident exact`."""


@dataclass(frozen=True, slots=True)
class Activation:
    """Result of an activation."""

    index: IndexInfo
    previous: str
    """Name of the index that was active before. Empty: none."""


class VectorIndex(Protocol):
    """Named indexes of movie vectors; at most one of them is active.

    Callers validate ranges (see search_service.contract.validation); an implementation checks
    whatever depends on the state of an index. Every method may raise StoreUnavailableError, and
    every method that takes an index or its name may raise IndexNotFoundError.
    """

    async def resolve(self, name: str) -> IndexSpec:
        """Return the spec of the index with this name; the empty name means the active index.

        Cheap enough for every request.

        Raises:
            NoActiveIndexError: The name is empty and no index is active.
        """
        ...

    async def search(
        self, index: IndexSpec, vectors: Vectors, queries: Sequence[Query]
    ) -> list[Hits]:
        """Find the movies with the largest inner product for each row.

        Args:
            index: A spec that `resolve` returned.
            vectors: One row for each query.
            queries: What to find for each row.

        Returns:
            The hits of each row.

        Raises:
            ModelMismatchError: Another model than the index's made the vectors.
            InvalidRequestError: The dimension is wrong, or a filter names an unknown genre.
        """
        ...

    async def get(self, index: IndexSpec, movie_ids: Sequence[int]) -> dict[int, IndexedMovie]:
        """Return the movies with these ids that the index has, by id."""
        ...

    async def list_movies(self, index: IndexSpec, after: int, limit: int) -> list[IndexedMovie]:
        """Return the first `limit` movies with an id above `after`, ascending by id."""
        ...

    async def create(self, spec: IndexSpec) -> IndexInfo:
        """Create an empty index.

        Raises:
            IndexExistsError: An index has this name already.
        """
        ...

    async def upsert(
        self, index: IndexSpec, movies: Sequence[IndexedMovie], vectors: Vectors
    ) -> None:
        """Insert movies with one vector each, replacing those that exist; ids must be unique.

        Every read that this process begins after the return sees them.

        Raises:
            ModelMismatchError: Another model than the index's made the vectors.
            InvalidRequestError: The dimension is wrong, or a movie has an unknown genre.
        """
        ...

    async def delete_movies(self, index: IndexSpec, movie_ids: Sequence[int]) -> None:
        """Delete movies, ignoring ids that the index does not have.

        No read that this process begins after the return sees them.
        """
        ...

    async def activate(self, index: IndexSpec, expected: int | None) -> Activation:
        """Make an index the active one, atomically.

        Args:
            index: The index to activate.
            expected: Number of movies that it must hold. None: any number above zero.

        Raises:
            CountMismatchError: It holds another number of movies, or none.
        """
        ...

    async def list_indexes(self) -> list[IndexInfo]:
        """Return all indexes, ascending by name.

        None is loaded for it: of one that is not in memory, the number of movies is that of the
        rows on disk, which lack the latest ones and include some that were replaced.
        """
        ...

    async def describe(self, index: IndexSpec) -> IndexInfo:
        """Return the current state of an index."""
        ...

    async def drop(self, index: IndexSpec) -> None:
        """Delete an index and its movies.

        Raises:
            IndexActiveError: It is the active index.
        """
        ...

    async def check_store(self) -> None:
        """Check that indexes can be built.

        Raises:
            NotReadyError: The store cannot be reached.
        """
        ...

    async def check_active(self) -> None:
        """Check that searches of the active index can be answered.

        Raises:
            NotReadyError: The store cannot be reached, no index is active, or the active index is
                not loaded or is inconsistent.
        """
        ...
