from __future__ import annotations

import numpy as np
import pytest

from search_service.index.examples import DISLIKE_WEIGHT, Examples

VECTORS = {i: np.eye(3, dtype=np.float32)[i - 1] for i in (1, 2, 3)}


def test_the_vector_is_the_normalised_sum_less_the_weighted_disliked_ones() -> None:
    vector = Examples((1, 2), (3,)).vector(VECTORS)
    expected = np.array([1, 1, -DISLIKE_WEIGHT]) / np.sqrt(2 + DISLIKE_WEIGHT**2)
    assert vector == pytest.approx(expected, abs=1e-6)
    assert vector is not None
    assert vector.dtype == np.float32


def test_movies_without_a_vector_are_ignored() -> None:
    assert Examples((1, 9), (8,)).vector(VECTORS) == pytest.approx(VECTORS[1])


def test_without_a_liked_vector_there_is_none() -> None:
    assert Examples((9,), (1,)).vector(VECTORS) is None


def test_what_cancels_out_is_zero_and_not_nan() -> None:
    opposite = {1: VECTORS[1], 2: -VECTORS[1]}
    assert Examples((1, 2)).vector(opposite) == pytest.approx([0, 0, 0])


def test_the_vectors_that_it_is_made_of_do_not_change() -> None:
    vectors = {1: np.full(3, 2, np.float32), 2: np.ones(3, np.float32)}
    Examples((1,), (2,)).vector(vectors)
    assert vectors[1].tolist() == [2, 2, 2]
