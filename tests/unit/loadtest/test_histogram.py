from __future__ import annotations

import numpy as np
import pytest

from loadtest.histogram import Latencies
from loadtest.tally import MethodTally


def recorded(seconds: np.ndarray) -> Latencies:
    latencies = Latencies()
    for each in seconds:
        latencies.record(float(each))
    return latencies


@pytest.fixture(scope="module")
def times() -> np.ndarray:
    return np.random.default_rng(0).lognormal(-6, 1, 20_000)


def test_percentiles_are_right_to_three_digits(times: np.ndarray) -> None:
    latencies = recorded(times)
    for percent in (1, 50, 90, 99, 99.9):
        exact = np.percentile(times, percent, method="higher")
        assert latencies.percentile(percent) == pytest.approx(exact, rel=3e-3, abs=2e-6)
    assert latencies.longest == pytest.approx(times.max(), rel=2e-3)
    assert latencies.mean == pytest.approx(times.mean(), rel=2e-3)


def test_merged_histograms_equal_that_of_all_calls(times: np.ndarray) -> None:
    merged = Latencies()
    for part in np.array_split(times, 7):
        merged.merge(recorded(part).encode())
    together = recorded(times)
    assert merged.count == len(times)
    assert list(merged.curve()) == list(together.curve())
    assert merged.longest == together.longest


def test_a_percentile_of_merged_parts_is_not_the_mean_of_theirs() -> None:
    merged = Latencies()
    merged.merge(recorded(np.full(990, 0.001)).encode())
    merged.merge(recorded(np.full(10, 1.0)).encode())
    assert merged.percentile(50) == pytest.approx(0.001, rel=1e-3)
    assert merged.percentile(99.5) == pytest.approx(1.0, rel=1e-3)


def test_times_beyond_the_range_count_as_its_ends() -> None:
    latencies = recorded(np.array([0.0, 1e-9, 1e6]))
    assert latencies.count == 3
    assert latencies.longest == pytest.approx(600, rel=1e-2)


def test_an_empty_histogram_survives_encoding() -> None:
    assert Latencies.decode(Latencies().encode()).count == 0


def test_failures_are_counted_by_code_and_have_no_latency() -> None:
    tally, other = MethodTally(), MethodTally()
    tally.record(0, 0.001)
    tally.record(8, 0.1)
    other.record(8, 0.1)
    other.record(14, 0.1)
    tally.merge(other.encoded())
    assert tally.failures == {"RESOURCE_EXHAUSTED": 2, "UNAVAILABLE": 1}
    assert tally.latencies.count == 1
