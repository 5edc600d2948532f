"""The towers of the ranking objective, as Paddle layers that are exported as they are."""

from __future__ import annotations

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional

from training.model import unit


class RankingUserTower(nn.Layer):
    """The tower of users: the sum of what is known about a person and of what he liked.

    Args:
        histories: What the likes of each known user add up to, the fixed half and the one that
            grows with their number, float32 [users, 2 · rank]; row 0 is the unknown user.
        likes: Number of the likes in it, float32 [users, 1].
        gender: What each gender adds, and the vector of a user of whom nothing is known, float32
            [genders, rank].
        age: What each age bucket adds.
        occupation: What each occupation adds.
        liked: What each liked movie adds, both halves, float32 [movies, 2 · rank]; row 0 is 0.
        disliked: What each disliked movie adds, float32 [movies, rank]; row 0 is 0.
        scale: Number of likes at which both halves count alike.
    """

    def __init__(
        self,
        *,
        histories: NDArray[np.float32],
        likes: NDArray[np.float32],
        gender: NDArray[np.float32],
        age: NDArray[np.float32],
        occupation: NDArray[np.float32],
        liked: NDArray[np.float32],
        disliked: NDArray[np.float32],
        scale: float,
    ) -> None:
        super().__init__()
        self.histories, self.likes = _kept(self, histories), _kept(self, likes)
        self.gender, self.age = _kept(self, gender), _kept(self, age)
        self.occupation = _kept(self, occupation)
        self.liked_movie, self.disliked_movie = _kept(self, liked), _kept(self, disliked)
        self._scale = scale

    def forward(
        self,
        user_id: Tensor,
        gender: Tensor,
        age: Tensor,
        occupation: Tensor,
        liked: Tensor,
        disliked: Tensor,
    ) -> Tensor:
        """Embed users: int64 [n] each, histories int64 [n, longest] → float32 [n, dimension]."""
        history = functional.embedding(user_id, self.histories)
        history = history + functional.embedding(liked, self.liked_movie).sum(axis=1)
        likes = functional.embedding(user_id, self.likes)
        likes = likes + (liked > 0).astype("float32").sum(axis=1, keepdim=True)
        few, many = paddle.split(history, 2, axis=1)
        total = few + many * (likes * (1 / self._scale))
        total = total + functional.embedding(disliked, self.disliked_movie).sum(axis=1)
        total = total + functional.embedding(gender, self.gender)
        total = total + functional.embedding(age, self.age)
        total = unit(total + functional.embedding(occupation, self.occupation))
        return functional.pad(total, [0, 0, 0, 1])


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
        movie_id: NDArray[np.float32],
        genres: NDArray[np.float32],
        words: NDArray[np.float32],
        new: NDArray[np.float32],
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


def _kept(layer: nn.Layer, values: NDArray[np.float32]) -> Tensor:
    return layer.create_parameter(
        list(values.shape), default_initializer=nn.initializer.Assign(values)
    )
