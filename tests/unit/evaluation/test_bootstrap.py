from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.bootstrap import of_mean, of_ratio, of_root_difference


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(1.0, (300, 400))
    covered = [low <= 1.0 <= high for low, high in of_mean(samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


def test_intervals_have_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, (1000, 1))
    ((low, high),) = of_mean(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)


def test_a_difference_is_paired_so_what_users_have_in_common_cancels() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(0, 1, 500)
    ours = theirs + 0.05 + rng.normal(0, 0.01, 500)
    (low, high), (_, high_alone) = of_mean(np.column_stack([ours - theirs, ours]))
    assert 0 < low < 0.05 < high < high_alone


def test_ratings_of_one_user_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    errors = np.repeat(rng.exponential(1, 100), 50)  # 50 ratings of each user have the same error
    user = np.repeat(np.arange(100), 50)
    sums, counts = np.bincount(user, errors), np.bincount(user).astype(float)
    low, high = of_ratio(sums, counts)
    assert high - low == pytest.approx(4 * errors.std() / np.sqrt(100), rel=0.25)


def test_equal_models_have_no_difference() -> None:
    sums, counts = np.array([1.0, 4.0, 2.0]), np.array([1.0, 2.0, 2.0])
    assert of_root_difference(sums, sums, counts) == (0, 0)
    low, high = of_root_difference(sums, 4 * sums, counts)
    assert low < high < 0
