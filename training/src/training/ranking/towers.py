"""The towers of the ranking objective, as Paddle layers that are exported as they are."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

from training.model import unit
from training.ranking.interactions import Matrix


class RankingUserTower(nn.Layer):
    """The tower of users: the sum of what is known about a person and of what he liked.

    A history is the number of its likes and two vectors, one that counts as it is and one that
    counts times that number, in rows of 2 · dimension + 1. The last coordinate of vectors is 0.

    Args:
        histories: The history of each known user in training, float32 [users, 2 · dimension + 1];
            row 0 is that of the unknown user, 0.
        movies: The history that each movie is: nothing, the liked, nothing, the disliked ones,
            float32 [2 · movies, 2 · dimension + 1].
        gender: What each gender adds, and the vector of a user of whom nothing is known, float32
            [genders, dimension].
        age: What each age bucket adds.
        occupation: What each occupation adds.
    """

    def __init__(
        self,
        *,
        histories: Matrix,
        movies: Matrix,
        gender: Matrix,
        age: Matrix,
        occupation: Matrix,
    ) -> None:
        super().__init__()
        self.histories, self.movies = _kept(self, histories), _kept(self, movies)
        self.gender, self.age = _kept(self, gender), _kept(self, age)
        self.occupation = _kept(self, occupation)
        self._parts = [gender.shape[1], gender.shape[1], 1]

    def forward(
        self,
        user_id: Tensor,
        gender: Tensor,
        age: Tensor,
        occupation: Tensor,
        history: Tensor,
        in_history: Tensor,
    ) -> Tensor:
        """Embed users, given the inputs that `FeatureEncoder` describes: [n, dimension]."""
        shown = paddle.matmul(in_history, functional.embedding(history, self.movies))
        shown = shown + functional.embedding(user_id, self.histories)
        few, many, likes = paddle.split(shown, self._parts, axis=1)
        total = few + many * likes
        total = total + functional.embedding(gender, self.gender)
        total = total + functional.embedding(age, self.age)
        return unit(total + functional.embedding(occupation, self.occupation))


class RankingMovieTower(nn.Layer):
    """The tower of movies: the vector of a known one; genres and title speak for a new one.

    Its last coordinate makes every vector as long as the longest, so that a cosine orders movies
    as the inner product does.

    Args:
        movie_id: Vector of each known movie, no longer than 1, float32 [movies, rank]; row 0 is 0.
        genres: What each genre adds to the vector of a new movie, float32 [genres, rank].
        words: What each word of a title adds, float32 [words, rank].
        new: What is common to new movies, float32 [1, rank].
    """

    def __init__(
        self,
        *,
        movie_id: Matrix,
        genres: Matrix,
        words: Matrix,
        new: Matrix,
    ) -> None:
        super().__init__()
        self.movie_id, self.genres = _kept(self, movie_id), _kept(self, genres)
        self.words, self.new = _kept(self, words), _kept(self, new)

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor) -> Tensor:
        """Embed movies: int64 [n], float32 [n, genres], int64 [n, words] → [n, dimension]."""
        content = paddle.matmul(genres, self.genres) + self.new
        content = content + functional.embedding(title, self.words).sum(axis=1)
        is_new = (movie_id == 0).astype("float32").unsqueeze(1)
        vectors = functional.embedding(movie_id, self.movie_id) + is_new * content
        squared = (vectors * vectors).sum(axis=1, keepdim=True)
        # Content can lead a little further than any movie of the catalogue.
        shrink = paddle.rsqrt(paddle.clip(squared, min=1.0))
        rest = paddle.sqrt(paddle.clip(1 - squared, min=0.0))
        return paddle.concat([vectors * shrink, rest], axis=1)


def _kept(layer: nn.Layer, values: Matrix) -> Tensor:
    return layer.create_parameter(
        list(values.shape), default_initializer=nn.initializer.Assign(values)
    )
