"""The baselines that rank: popularity, item mean, ItemKNN, EASE, EDLAE and iALS.

Each learns from the likes of the training part alone (item mean: also from the dislikes), is told
a user's likes, and ranks by popularity where there are none. ItemKNN and iALS are those of the
library `implicit`; EASE and EDLAE are closed forms of a few lines.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from training.evaluation.interface import Audience, FittedRanker, Ranker, ones
from training.evaluation.ranking import validation_ndcg
from training.evaluation.splits import Split

NEIGHBOURS = (10, 20, 50, 100)
EASE_PENALTIES = (250.0, 500.0, 1000.0, 2000.0)
IALS_CHOICES = (
    {"factors": 64, "alpha": 1.0, "regularization": 20.0},
    {"factors": 128, "alpha": 1.0, "regularization": 20.0},
    {"factors": 128, "alpha": 2.0, "regularization": 30.0},
    {"factors": 128, "alpha": 5.0, "regularization": 100.0},
)
_DAMPING = 10.0
"""Ratings at the global mean that the item mean adds to each movie."""
_SEED = 1

Choice = TypeVar("Choice")


class Same:
    """Ranks the movies in one order for everybody."""

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self._scores = scores.astype(np.float32)

    def scores(self, audience: Audience) -> NDArray[np.float32]:
        """Return the same scores for every user."""
        return np.tile(self._scores, (len(audience), 1))


class ItemToItem:
    """Scores a movie by the sum of its similarities to the movies that the user likes."""

    def __init__(self, similarity: NDArray[np.float32] | csr_matrix, split: Split) -> None:
        self._similarity = similarity
        self._popular = popularity(split)

    def scores(self, audience: Audience) -> NDArray[np.float32]:
        """Return the scores; without a history those of popularity."""
        liked = ones(audience.rated)
        scores = liked @ self._similarity
        scores = scores if isinstance(scores, np.ndarray) else scores.toarray()
        return _or_popular(scores, liked, self._popular)


class Factors:
    """Scores by the inner product of factors; a user's factors follow from the history."""

    def __init__(self, model: AlternatingLeastSquares, split: Split) -> None:
        self._model = model
        self._popular = popularity(split)

    def scores(self, audience: Audience) -> NDArray[np.float32]:
        """Return the scores; without a history those of popularity."""
        liked = ones(audience.rated)
        with _quiet():
            users = self._model.recalculate_user(np.arange(len(audience)), liked)
        return _or_popular(users @ self._model.item_factors.T, liked, self._popular)


def fit_popularity(split: Split) -> FittedRanker:
    """Rank by the number of likes."""
    return FittedRanker(Same(popularity(split)))


def fit_item_mean(split: Split) -> FittedRanker:
    """Rank by the mean of a movie's known ratings, damped towards the mean of all."""
    known = split.train + split.disliked
    mean = known.data.mean()
    sums = np.asarray(known.sum(axis=0)).ravel()
    return FittedRanker(Same((sums + _DAMPING * mean) / (known.getnnz(axis=0) + _DAMPING)))


def fit_item_knn(split: Split) -> FittedRanker:
    """Score by the cosine to the nearest neighbours of each movie (Sarwar et al. 2001)."""

    def fit(neighbours: int) -> Ranker:
        model = CosineRecommender(K=neighbours)
        with _quiet():
            model.fit(ones(split.train), show_progress=False)
        return ItemToItem(csr_matrix(model.similarity, dtype=np.float32), split)

    return _tuned(split, {f"{each} neighbours": each for each in NEIGHBOURS}, fit)


def fit_ease(split: Split) -> FittedRanker:
    """Score by the linear autoencoder EASE (Steck 2019)."""
    gram = (ones(split.train).T @ ones(split.train)).toarray().astype(np.float64)

    def fit(penalty: float) -> Ranker:
        return ItemToItem(autoencoder(gram, np.full(len(gram), penalty)), split)

    return _tuned(split, {f"penalty {each:g}": each for each in EASE_PENALTIES}, fit)


def fit_edlae(
    split: Split, *, dropout: float = 0.3, penalty: float = 500.0, exponent: float = 0.25
) -> FittedRanker:
    """Score by EDLAE (Steck 2020) of full rank, the weight of n likes being n ** -exponent.

    Weights have a mean of 1 over the users, so that the penalty compares with that of EASE.
    """
    liked = ones(split.train)
    weight = np.maximum(1, liked.getnnz(axis=1)) ** -exponent
    weight /= weight.mean()
    gram = (liked.T @ diags_array(weight) @ liked).toarray().astype(np.float64)
    penalties = dropout / (1 - dropout) * gram.diagonal() + penalty
    return FittedRanker(ItemToItem(autoencoder(gram, penalties), split))


def fit_ials(split: Split) -> FittedRanker:
    """Score by implicit alternating least squares (Hu, Koren and Volinsky 2008)."""

    def fit(choices: dict[str, float]) -> Ranker:
        with _quiet():
            model = AlternatingLeastSquares(**choices, iterations=15, random_state=_SEED)
            model.fit(ones(split.train), show_progress=False)
        return Factors(model, split)

    return _tuned(
        split,
        {
            ", ".join(f"{name} {value:g}" for name, value in each.items()): each
            for each in IALS_CHOICES
        },
        fit,
    )


def popularity(split: Split) -> NDArray[np.float64]:
    """Return the number of likes of each movie."""
    return np.asarray(split.train.getnnz(axis=0), dtype=np.float64)


def autoencoder(gram: NDArray[np.float64], penalties: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the item-to-item weights of least squared error with a diagonal of zero.

    Args:
        gram: Likes that two movies share, [movies, movies].
        penalties: Penalty on the weights from each movie, [movies].
    """
    inverse = np.linalg.inv(gram + np.diag(penalties))
    weights = -inverse / inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32)


def _tuned(
    split: Split, choices: Mapping[str, Choice], fit: Callable[[Choice], Ranker]
) -> FittedRanker:
    """Return the ranker of the choice with the best NDCG@10 on validation."""
    fitted = {name: fit(choice) for name, choice in choices.items()}
    tried = {name: validation_ndcg(ranker, split) for name, ranker in fitted.items()}
    return FittedRanker(fitted[max(tried, key=tried.__getitem__)], tried)


def _or_popular(
    scores: NDArray[np.float32], liked: csr_matrix, popular: NDArray[np.float64]
) -> NDArray[np.float32]:
    scores[liked.getnnz(axis=1) == 0] = popular
    return scores


@contextmanager
def _quiet() -> Iterator[None]:
    """Run `implicit` with one thread of BLAS, as it asks for, and without its notes on formats."""
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
