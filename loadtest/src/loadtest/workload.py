"""Workloads: requests of some methods, in given shares, for synthetic users."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2

METHODS: dict[str, str] = {
    "Recommend": "marquee.recommender.v1.RecommenderService/Recommend",
    "EmbedUsers": "marquee.embedder.v1.EmbedderService/EmbedUsers",
    "EmbedMovies": "marquee.embedder.v1.EmbedderService/EmbedMovies",
    "SearchMovies": "marquee.search.v1.SearchService/SearchMovies",
}
"""Paths of the methods that can be called."""

_AGES = (1, 18, 25, 35, 45, 50, 56)
_MOST_MESSAGES = 8192
"""Most distinct requests of one method."""


class WorkloadError(Exception):
    """The description of a workload is invalid."""


def parse_mix(text: str) -> dict[str, float]:
    """Read a mix of methods, as in `Recommend:9,EmbedUsers:1`; the default share is 1.

    Returns:
        Shares by name of method, which add up to 1.

    Raises:
        WorkloadError: A method is unknown or named twice, or a share is not a positive number.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        if name not in METHODS:
            raise WorkloadError(f"no method {name!r}; there are {', '.join(METHODS)}")
        if name in shares:
            raise WorkloadError(f"{name} is named twice")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            raise WorkloadError(f"the share of {name} is not a number: {share!r}") from None
        if not 0 < shares[name] < float("inf"):
            raise WorkloadError(f"the share of {name} must be more than 0")
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Dimension and model of the vectors in a search index."""

    dimension: int
    model_version: str


@dataclass(frozen=True, slots=True)
class Workload:
    """A stream of requests, the same for the same seed."""

    mix: Mapping[str, float] = field(default_factory=lambda: {"Recommend": 1.0})
    """Shares by name of method, which add up to 1."""
    users: int = 6040
    """Size of the population: user ids are 1 to this."""
    movies: int = 3952
    """Movie ids of EmbedMovies are 1 to this."""
    zipf: float = 0.0
    """0: all users equally likely; above 0: user k with weight 1 / k to the power of this."""
    batch: int = 1
    """Users, movies or vectors in one request; Recommend always has one user."""
    top_k: int = 10
    """Movies to return, for Recommend and for each vector of SearchMovies."""
    space: VectorSpace | None = None
    """Space of the random vectors that SearchMovies sends."""
    vectors: bytes = b""
    """Vectors that SearchMovies sends instead: float32 rows from the embedder."""
    genres: tuple[str, ...] = ()
    """Genres that EmbedMovies may name."""

    def messages(self, method: str) -> list[bytes]:
        """Return the serialised requests of a method, one for each item of the population.

        Raises:
            WorkloadError: SearchMovies without a space.
        """
        if method == "Recommend":
            return [
                recommender_pb2.RecommendRequest(
                    user=user(each), page_size=self.top_k
                ).SerializeToString()
                for each in range(1, min(self.users, _MOST_MESSAGES) + 1)
            ]
        if method == "EmbedUsers":
            return [
                embedder_pb2.EmbedUsersRequest(
                    users=[user(each) for each in ids]
                ).SerializeToString()
                for ids in self._batches(self.users)
            ]
        if method == "EmbedMovies":
            return [
                embedder_pb2.EmbedMoviesRequest(
                    movies=[movie(each, self.genres) for each in ids]
                ).SerializeToString()
                for ids in self._batches(self.movies)
            ]
        return self._searches()

    def choices(self, seed: int) -> Iterator[tuple[str, int]]:
        """Yield methods and the index of a message, endlessly.

        Args:
            seed: Seed of the order; each process has its own.
        """
        generator = np.random.default_rng(seed)
        names = list(self.mix)
        sizes = np.array([self.size(name) for name in names])
        while True:
            methods = generator.choice(len(names), size=4096, p=list(self.mix.values()))
            ranks = draw(generator, self.zipf, sizes[methods])
            yield from zip((names[each] for each in methods), ranks.tolist(), strict=True)

    def size(self, method: str) -> int:
        """Return the number of distinct messages of a method."""
        if method == "Recommend":
            return min(self.users, _MOST_MESSAGES)
        if method == "SearchMovies":
            return 512 if self.batch == 1 else 64
        population = self.users if method == "EmbedUsers" else self.movies
        return len(list(self._batches(population)))

    def _batches(self, population: int) -> Iterator[list[int]]:
        """Yield the ids of each request; all of the population occur."""
        number = max(1, min(population // self.batch, _MOST_MESSAGES))
        ids = itertools.cycle(range(1, population + 1))
        for _ in range(number):
            yield list(itertools.islice(ids, self.batch))

    def _searches(self) -> list[bytes]:
        if self.space is None:
            raise WorkloadError("SearchMovies needs the dimension and the model of the index")
        row = self.space.dimension * 4
        number = self.size("SearchMovies")
        data = self.vectors or unit_vectors(number * self.batch, self.space.dimension).tobytes()
        rows = len(data) // row
        queries = [search_pb2.MovieQuery(top_k=self.top_k)] * self.batch
        messages = []
        for first in range(0, number * self.batch, self.batch):
            wanted = ((first + each) % rows * row for each in range(self.batch))
            vectors = types_pb2.Vectors(
                dimension=self.space.dimension,
                data=b"".join(data[at : at + row] for at in wanted),
                model_version=self.space.model_version,
            )
            request = search_pb2.SearchMoviesRequest(vectors=vectors, queries=queries)
            messages.append(request.SerializeToString())
        return messages


def user(user_id: int) -> types_pb2.User:
    """Return a synthetic user whose attributes follow from the id."""
    return types_pb2.User(
        user_id=user_id,
        gender=types_pb2.GENDER_FEMALE if user_id % 3 == 0 else types_pb2.GENDER_MALE,
        age=_AGES[user_id % 7],
        occupation=user_id % 21,
    )


def movie(movie_id: int, genres: tuple[str, ...]) -> types_pb2.Movie:
    """Return a synthetic movie whose attributes follow from the id."""
    return types_pb2.Movie(
        movie_id=movie_id,
        title=f"The Night Train to Number {movie_id}",
        year=1930 + movie_id % 90,
        genres={genres[movie_id * step % len(genres)] for step in (1, 7)} if genres else (),
    )


def unit_vectors(rows: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random directions: float32 [rows, dimension], each row of length 1."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def draw(
    generator: np.random.Generator, exponent: float, sizes: NDArray[np.int_]
) -> NDArray[np.int_]:
    """Draw one index below each size, by Zipf's law; 0 is the most likely.

    Exact for every exponent, unlike `Generator.zipf`, which is unbounded and needs one above 1.
    """
    if exponent == 0:
        return generator.integers(0, sizes)
    drawn = np.empty(len(sizes), dtype=np.int_)
    for size in np.unique(sizes):
        weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
        cumulative = np.cumsum(weights)
        here = sizes == size
        uniform = generator.random(int(here.sum())) * cumulative[-1]
        drawn[here] = np.minimum(np.searchsorted(cumulative, uniform, side="right"), size - 1)
    return drawn
