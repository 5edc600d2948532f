"""Vectors of movies and histories in closed form: two linear systems, no gradients.

What a user likes next is a sum over what is known about him, so that one inner product ranks:

    prior(gender, age, occupation) + Σ few[movie] + n / scale · Σ many[movie]

over the n movies that he liked, each a vector in the space of the movies' vectors. `many` is the
denoising autoencoder of Steck, "Autoencoders that don't overfit towards the identity" (NeurIPS
2020), which is best where a history is long. `few` is the same regression for users of whom only
a few likes are shown, beside the demographics, which is best where it is short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.config import Config
from training.ranking.interactions import Interactions, Matrix

Wide = NDArray[np.float64]

_SPARE, _SWEEPS = 32, 12
"""Further axes, and multiplications, of the search for the main axes: enough for four digits."""


@dataclass(frozen=True)
class Factors:
    """Vectors of one space, float32 [n, rank] each; an inner product with `movies` is a score."""

    movies: Matrix
    """What each movie is compared by."""
    few: Matrix
    """What each liked movie adds, however many there are."""
    many: Matrix
    """What each liked movie adds, times the number of likes."""
    disliked: Matrix
    """What each disliked movie adds."""
    people: Matrix
    """What each column of `Interactions.people` adds."""
    nobody: Matrix
    """What ranks by popularity, float32 [rank]: the vector of a user of whom nothing is known."""


def solve(data: Interactions, config: Config) -> Factors:
    """Return the factors that suit some interactions best.

    Time and memory grow with the square of the number of movies, and the two inversions with its
    cube.

    Args:
        data: The interactions.
        config: The choices of the run.
    """
    normal = _NormalEquations.of(data, config)
    inverse = _inverse(normal.many + np.diag(_many_ridge(normal.many, config)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    axes = _axes(data, weights.astype(np.float32), normal.popularity, config.dimension - 1)
    few, disliked = _few(normal, axes, config)
    people = _inverse(normal.people + config.demographics_ridge * np.eye(len(normal.people))) @ (
        normal.people_liked @ axes
    )
    return Factors(
        movies=axes.astype(np.float32),
        few=few.astype(np.float32),
        many=(weights @ axes).astype(np.float32),
        disliked=disliked.astype(np.float32),
        people=people.astype(np.float32),
        nobody=(normal.popularity / len(data.people) @ axes).astype(np.float32),
    )


@dataclass(frozen=True)
class _NormalEquations:
    """Sums over all users, float64; `few` likes and dislikes are shown at random."""

    popularity: Wide
    """How many like each movie."""
    many: Wide
    """Likes by likes, graded, users weighted."""
    people: Wide
    """Attributes by attributes."""
    people_liked: Wide
    """Attributes by likes."""
    shown: Wide
    """One, attributes and shown likes by the same."""
    shown_liked: Wide
    """One, attributes and shown likes by likes."""
    disliked: Wide
    """Shown dislikes by the same."""
    disliked_shown: Wide
    """Shown dislikes by one, attributes and shown likes."""
    disliked_liked: Wide
    """Shown dislikes by likes."""

    @classmethod
    def of(cls, data: Interactions, config: Config) -> _NormalEquations:
        size, attributes = data.movies, data.people.shape[1]
        first = 1 + attributes
        many, disliked, disliked_liked = (np.zeros((size, size)) for _ in range(3))
        shown, shown_liked = np.zeros((first + size,) * 2), np.zeros((first + size, size))
        disliked_shown = np.zeros((size, first + size))
        # Long histories would otherwise decide everything.
        weight = np.maximum(data.likes, 1) ** -config.user_damping
        weight = (weight / weight.mean()).astype(np.float32)[:, None]
        share = np.minimum(1, config.few_likes / np.maximum(data.likes, 1))
        share = share.astype(np.float32)[:, None]
        for rows, people, graded, dislikes in data.chunks():
            liked = (graded > 0).astype(np.float32)
            many += (graded * weight[rows]).T @ graded
            ones = np.ones((len(people), 1), dtype=np.float32)
            known = np.concatenate([ones, people, liked * share[rows]], axis=1)
            shown += known.T @ known
            shown_liked += known.T @ liked
            seen = dislikes * share[rows]
            disliked += seen.T @ seen
            disliked_shown += seen.T @ known
            disliked_liked += seen.T @ liked
            # What is shown is shown entirely, so its square is itself: the mean is its share.
            diagonal = np.arange(first, first + size)
            shown[diagonal, diagonal] += ((share[rows] - share[rows] ** 2) * liked).sum(axis=0)
            diagonal = np.arange(size)
            spread = ((share[rows] - share[rows] ** 2) * dislikes).sum(axis=0)
            disliked[diagonal, diagonal] += spread
        popularity = shown_liked[0]
        attribute = slice(1, first)
        return cls(
            popularity,
            many,
            shown[attribute, attribute],
            shown_liked[attribute],
            shown,
            shown_liked,
            disliked,
            disliked_shown,
            disliked_liked,
        )


def _many_ridge(many: Wide, config: Config) -> Wide:
    dropout = config.history_dropout
    return np.asarray(dropout / (1 - dropout) * np.diag(many) + config.ridge)


def _few(normal: _NormalEquations, axes: Wide, config: Config) -> tuple[Wide, Wide]:
    """Return what a liked and what a disliked movie adds where few are known."""
    size = len(axes)
    first = len(normal.shown) - size
    ridge = np.full(len(normal.shown), config.few_ridge)
    ridge[1:first] = config.demographics_ridge
    ridge[0] = 1e-3  # the intercept is free
    inverse = _inverse(normal.shown + np.diag(ridge))
    # No movie may explain itself: a multiplier for each takes its own weight away.
    own = np.einsum("if,fi->i", inverse[first:], normal.shown_liked)
    own /= np.diag(inverse)[first:]
    weights = inverse @ (normal.shown_liked @ axes) - inverse[:, first:] @ (own[:, None] * axes)
    # A disliked movie explains what the likes and the person leave.
    rest = normal.disliked_liked @ axes - normal.disliked_shown @ weights
    disliked = _inverse(normal.disliked + config.few_ridge * np.eye(size)) @ rest
    return weights[first:], disliked


def _axes(data: Interactions, weights: Matrix, popularity: Wide, rank: int) -> Wide:
    """Return orthonormal axes, float64 [movies, rank], in which the scores lose least.

    The first is the direction of popularity, so that a ranking by it is exact; the others are the
    main axes of the users' scores without it. Scores are scaled by the root of their length: users
    with long histories have larger ones, but one list each. If there are fewer movies than axes,
    the last ones are 0.
    """
    size = len(popularity)
    covariance = np.zeros((size, size))
    for chunk in data.chunks():
        scores = chunk.liked @ weights
        length = np.linalg.norm(scores, axis=1, keepdims=True)
        scores /= np.sqrt(np.maximum(length, 1e-6))
        covariance += scores.T @ scores
    first = (popularity / np.linalg.norm(popularity))[:, None]
    found = min(rank, size)
    basis = np.random.default_rng(0).normal(size=(size, min(found - 1 + _SPARE, size - 1)))
    for _ in range(_SWEEPS):
        # With the first axis ahead, the others stay orthogonal to it.
        basis = np.linalg.qr(np.concatenate([first, covariance @ basis], axis=1))[0][:, 1:]
    _, order = np.linalg.eigh(basis.T @ covariance @ basis)
    main = basis @ order[:, ::-1][:, : found - 1]
    axes = np.zeros((size, rank))
    axes[:, :found] = np.concatenate([first, main], axis=1)
    return axes


def _inverse(matrix: Wide) -> Wide:
    return np.asarray(np.linalg.inv(matrix))
