from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from fusion.records import Movie
from training.errors import DataError
from training.evaluation.metrics import Catalogue, accuracy, best, coverage

LISTS = np.array([np.arange(20)] * 3)
WANTED = np.zeros((3, 30))
WANTED[0, [0, 2, 25]] = WANTED[1, 14] = WANTED[2, 4] = 1


def movies(*genres: tuple[str, ...]) -> list[Movie]:
    return [Movie(number, f"M{number}", None, each) for number, each in enumerate(genres, 1)]


def test_accuracy_has_the_values_computed_by_hand() -> None:
    found = accuracy(LISTS, csr_matrix(WANTED))
    # User 0 has hits at ranks 1 and 3, and one wanted movie that is not in the list.
    first = (1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2)
    assert first == pytest.approx(0.7039, abs=1e-4)
    assert found["ndcg@10"] == pytest.approx([first, 0, 1 / math.log2(6)])
    assert found["recall@10"] == pytest.approx([2 / 3, 0, 1])
    assert found["recall@20"] == pytest.approx([2 / 3, 1, 1])
    assert found["hr@10"] == pytest.approx([1, 0, 1])
    assert found["mrr@10"] == pytest.approx([1, 0, 1 / 5])


def test_ndcg_follows_the_published_formula_on_random_lists() -> None:
    rng = np.random.default_rng(0)
    lists = np.array([rng.permutation(50)[:20] for _ in range(40)])
    wanted = rng.random((40, 50)) < 0.3
    expected = []
    for row, relevant in zip(lists, wanted, strict=True):
        gained = sum(
            (2.0 ** relevant[movie] - 1) / math.log2(rank + 1)
            for rank, movie in enumerate(row[:10], 1)
        )
        most = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, relevant.sum()) + 1))
        expected.append(gained / most)
    found = accuracy(lists, csr_matrix(wanted.astype(float)))["ndcg@10"]
    np.testing.assert_allclose(found, expected)


def test_the_best_movies_are_in_order_and_none_is_masked() -> None:
    scores = np.random.default_rng(0).random((5, 40), dtype=np.float32)
    masked = np.zeros((5, 40))
    masked[:, ::3] = 1
    before = scores.copy()
    found = best(scores, csr_matrix(masked), length=10)
    for row, movies_of in enumerate(found):
        left = [movie for movie in np.argsort(-scores[row]) if movie % 3]
        assert list(movies_of) == left[:10]
    np.testing.assert_array_equal(scores, before)


def test_a_list_longer_than_what_is_left_is_refused() -> None:
    masked = np.zeros((1, 25))
    masked[0, :6] = 1
    with pytest.raises(DataError, match="fewer than 20 movies"):
        best(np.zeros((1, 25), dtype=np.float32), csr_matrix(masked))


def test_novelty_is_the_mean_surprise() -> None:
    train = np.zeros((8, 10))
    train[:4, :5] = 1  # half of the users like the first five movies, an eighth the others
    train[0, 5:] = 1
    found = Catalogue(movies(*[("Drama",)] * 10), csr_matrix(train)).content(
        np.arange(10)[None], csr_matrix(train[:1])
    )
    assert found["novelty@10"] == pytest.approx([(5 * 1 + 5 * 3) / 10])


def test_diversity_is_one_less_the_mean_cosine_of_the_genres() -> None:
    genres = [("Drama",)] * 5 + [("War",)] * 5
    catalogue = Catalogue(movies(*genres), csr_matrix(np.ones((2, 10))))
    found = catalogue.content(np.arange(10)[None], csr_matrix(np.ones((1, 10))))
    assert found["diversity@10"] == pytest.approx([25 / 45])  # pairs of different genres
    alike = Catalogue(movies(*[("War", "Drama")] * 10), csr_matrix(np.ones((2, 10))))
    found = alike.content(np.arange(10)[None], csr_matrix(np.ones((1, 10))))
    assert found["diversity@10"] == pytest.approx([0], abs=1e-12)


def test_miscalibration_is_the_smoothed_divergence_from_the_genres_of_the_history() -> None:
    genres = [("Drama",)] * 10 + [("War",)] * 10
    catalogue = Catalogue(movies(*genres), csr_matrix(np.ones((2, 20))))
    history = np.zeros((3, 20))
    history[0, :4] = history[1, [0, 10]] = 1
    found = catalogue.content(np.array([np.arange(10)] * 3), csr_matrix(history))
    # The second user likes both genres, and the list has one of them.
    expected = 0.5 * math.log(0.5 / 0.995) + 0.5 * math.log(0.5 / 0.005)
    assert found["miscalibration@10"][:2] == pytest.approx([0, expected])
    assert math.isnan(found["miscalibration@10"][2])


def test_coverage_counts_the_movies_of_the_first_ten_places() -> None:
    assert coverage(LISTS, 30) == pytest.approx(10 / 30)
