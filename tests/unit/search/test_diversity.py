"""The order of maximal marginal relevance against its definition, written plainly."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from tests.fixtures.movies import unit_vectors

from search_service.index.diversity import marginal_order


def made(hits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities and vectors of hits; rounded, so that sums are exact and many tie."""
    vectors = np.rint(unit_vectors(hits, seed).values * 8) / 8
    query = np.rint(unit_vectors(1, seed + 1).values[0] * 8) / 8
    vectors = vectors[np.argsort(-(vectors @ query), kind="stable")]
    return (vectors @ query).astype(np.float32), vectors.astype(np.float32)


def by_definition(similarities: np.ndarray, vectors: np.ndarray, diversity: float) -> list[int]:
    left, order = list(range(len(similarities))), []
    while left:

        def marginal(place: int) -> float:
            alike = max((float(vectors[place] @ vectors[o]) for o in order), default=0.0)
            return (1 - diversity) * float(similarities[place]) - diversity * alike

        best = max(left, key=lambda place: (marginal(place), -place))
        order.append(best)
        left.remove(best)
    return order


@given(
    st.integers(1, 30),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]),
    st.integers(1, 30),
)
def test_the_order_is_the_definitions_and_a_longer_one_begins_with_it(
    hits: int, seed: int, diversity: float, count: int
) -> None:
    similarities, vectors = made(hits, seed)
    order = marginal_order(similarities, vectors, diversity, min(count, hits))
    assert order == by_definition(similarities, vectors, diversity)[:count]


def test_without_diversity_nothing_moves() -> None:
    assert marginal_order(*made(20, 3), 0.0, 20) == list(range(20))


def test_of_two_like_hits_the_second_waits() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    similarities = np.array([0.9, 0.9, 0.5], np.float32)
    assert marginal_order(similarities, vectors, 0.5, 3) == [0, 2, 1]
    assert marginal_order(similarities, vectors, 0.1, 3) == [0, 1, 2]


def test_what_it_is_given_does_not_change() -> None:
    similarities, vectors = made(20, 3)
    before = similarities.copy(), vectors.copy()
    marginal_order(similarities, vectors, 0.5, 20)
    np.testing.assert_array_equal(similarities, before[0])
    np.testing.assert_array_equal(vectors, before[1])
