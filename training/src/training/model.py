"""The fusion recommendation model: two towers, and the rating is 5 times their vectors' cosine.

It follows chapter 5 of the PaddlePaddle book (PaddlePaddle/book, 05.recommender_system): each
attribute has an embedding and a fully connected layer, a tower adds these up and applies tanh; the
title goes through a convolution over its words. Vectors are L2-normalised, so their inner product
is their cosine.
"""

from __future__ import annotations

from collections.abc import Mapping

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

from training.config import SCORE_SCALES, Config

SCORE_SCALE = SCORE_SCALES["rating"]
"""Factor from a cosine to a rating."""

_WINDOW = 3


class FusionModel(nn.Layer):
    """Both towers.

    Args:
        sizes: Size of each vocabulary, from `Vocabularies.sizes`.
        config: The choices of the run.
    """

    def __init__(self, sizes: Mapping[str, int], config: Config) -> None:
        super().__init__()
        self.user = UserTower(sizes, config)
        self.movie = MovieTower(sizes, config)


class UserTower(nn.Layer):
    """The tower of users: the sum of id, gender, age bucket and occupation."""

    def __init__(self, sizes: Mapping[str, int], config: Config) -> None:
        super().__init__()
        self.user_id = _Attribute(sizes["user_id"], config)
        self.gender = _Attribute(sizes["gender"], config)
        self.age = _Attribute(sizes["age"], config)
        self.occupation = _Attribute(sizes["occupation"], config)
        self.bias = self.create_parameter([config.dimension], is_bias=True)

    def forward(self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        """Embed users: indices int64 [n] each → float32 [n, dimension]."""
        total = self.user_id(user_id) + self.gender(gender) + self.age(age)
        return unit(functional.tanh(total + self.occupation(occupation) + self.bias))


class MovieTower(nn.Layer):
    """The tower of movies: the sum of id, genres and title."""

    def __init__(self, sizes: Mapping[str, int], config: Config) -> None:
        super().__init__()
        self.movie_id = _Attribute(sizes["movie_id"], config)
        self.genres = nn.Linear(sizes["genre"], config.dimension, bias_attr=False)
        self.title = _Title(sizes["title_word"], config)
        self.bias = self.create_parameter([config.dimension], is_bias=True)

    def forward(
        self, movie_id: Tensor, genres: Tensor, title: Tensor, row: Tensor | None = None
    ) -> Tensor:
        """Embed movies: int64 [n], float32 [m, genres], int64 [m, words] → float32 [n, dimension].

        Args:
            movie_id: Index of each movie.
            genres: Multi-hot.
            title: Word indices.
            row: int64 [n], the row of each movie in `genres` and `title`, so that a movie that
                occurs many times in a batch is computed once; None if n = m and row i is movie i.
        """
        content = self.genres(genres) + self.title(title)
        if row is not None:
            content = functional.embedding(row, content)
        return unit(functional.tanh(self.movie_id(movie_id) + content + self.bias))


class _Attribute(nn.Layer):
    """An embedding and its fully connected layer; the tower has the bias of the sum.

    The layer is applied to the whole table and not to the rows that are looked up: batches are as
    large as the tables, and one matrix product costs less than a wide gather and its gradient.
    """

    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        self.table = _table(self, size, config.embedding)
        self.weight = self.create_parameter([config.embedding, config.dimension])

    def forward(self, index: Tensor) -> Tensor:
        return functional.embedding(index, self.folded())

    def folded(self) -> Tensor:
        """Return the table multiplied by its layer: float32 [size, dimension]."""
        return paddle.matmul(self.table, self.weight)


class _Title(nn.Layer):
    """Convolution of width 3 over the words, tanh, sum over the positions, fully connected layer.

    A convolution over words that are looked up is the sum of three products that are looked up, one
    for each position in the window; so, as above, the products are computed once for each word of
    the vocabulary.
    """

    def __init__(self, size: int, config: Config) -> None:
        super().__init__()
        channels = config.title_channels
        self.table = _table(self, size, channels)
        self.filters = self.create_parameter([channels, _WINDOW * channels])
        self.filter_bias = self.create_parameter([channels], is_bias=True)
        self.weight = self.create_parameter([channels, config.dimension])

    def forward(self, title: Tensor) -> Tensor:
        return convolved_title(
            title, paddle.matmul(self.table, self.filters), self.filter_bias, self.weight
        )


def convolved_title(title: Tensor, words: Tensor, bias: Tensor, weight: Tensor) -> Tensor:
    """Apply the title branch, given the products of its word table and filters.

    Args:
        title: Word indices, int64 [m, words].
        words: What each word adds at each of the three positions of a window, float32
            [vocabulary, 3 · channels].
        bias: Bias of the filters, float32 [channels].
        weight: Weight of the layer after the pooling, float32 [channels, dimension].
    """
    # Word 0 is "no word", so that is what precedes and follows a title.
    padded = functional.pad(title, [0, 0, 1, 1], value=0)
    before, here, after = paddle.split(words, _WINDOW, axis=1)
    length = title.shape[1]
    windows = (
        functional.embedding(padded[:, :length], before)
        + functional.embedding(padded[:, 1 : length + 1], here)
        + functional.embedding(padded[:, 2:], after)
        + bias
    )
    # The sum, as in the book; on a CPU the gradient of a maximum takes forty times as long.
    return paddle.matmul(functional.tanh(windows).sum(axis=1), weight)


def unit(vectors: Tensor) -> Tensor:
    """Divide each row by its Euclidean length.

    The gradient of `functional.normalize` takes eight times as long on a CPU.
    """
    return vectors * paddle.rsqrt((vectors * vectors).sum(axis=-1, keepdim=True) + 1e-12)


def _table(layer: nn.Layer, rows: int, width: int) -> Tensor:
    return layer.create_parameter(
        [rows, width], default_initializer=nn.initializer.Normal(0.0, 0.05)
    )
