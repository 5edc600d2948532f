from __future__ import annotations

from itertools import islice, pairwise
from statistics import mean

import pytest

from loadtest.load import ClosedLoop, OpenLoop


def test_even_arrivals_keep_their_distance() -> None:
    times = list(islice(OpenLoop(200.0, "even").times(seed=1), 1000))
    assert all(b - a == pytest.approx(0.005) for a, b in pairwise(times))


def test_random_arrivals_come_at_the_rate_and_not_evenly() -> None:
    gaps = [b - a for a, b in pairwise(islice(OpenLoop(200.0, "poisson").times(seed=1), 5000))]
    assert mean(gaps) == pytest.approx(0.005, rel=0.05)
    assert sum(gap < 0.0025 for gap in gaps) == pytest.approx(5000 * 0.393, rel=0.1)


def test_the_schedule_does_not_depend_on_answers() -> None:
    assert list(islice(OpenLoop(50.0).times(3), 100)) == list(islice(OpenLoop(50.0).times(3), 100))


def test_processes_share_callers_and_rates_without_loss() -> None:
    assert [ClosedLoop(10).share(part, 4).concurrency for part in range(4)] == [3, 3, 2, 2]
    assert sum(OpenLoop(100.0).share(part, 3).rate for part in range(3)) == pytest.approx(100.0)


def test_processes_do_not_send_at_the_same_moments() -> None:
    share = OpenLoop(100.0, "even").share(0, 2)
    assert next(share.times(seed=0)) != next(share.times(seed=1))
