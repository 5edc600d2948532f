from __future__ import annotations

import numpy as np
import pytest

from search_service.store.editions import MAX_INTERVAL_SECONDS, CheckSchedule

POLL = 0.4


def checks(until: float, *, polls_every: float = POLL) -> list[float]:
    """Times at which a poll finds a check due, where no edition but the first is new."""
    schedule, found = CheckSchedule(), []
    for now in np.arange(100.0, 100.0 + until, polls_every).tolist():
        if schedule.is_due("only", now):
            schedule.checked("only", now)
            found.append(now - 100.0)
    return found


def test_a_check_is_due_at_first_and_after_every_new_edition() -> None:
    schedule = CheckSchedule()
    assert schedule.is_due("", 5.0)
    for number in range(3):
        assert schedule.is_due(f"new {number}", 5.0)
        assert schedule.is_due(f"new {number}", 5.1)  # it has not been made yet
        schedule.checked(f"new {number}", 5.1)


@pytest.mark.parametrize("polls_every", [0.1, 0.25, 0.5])
def test_what_takes_effect_t_after_an_edition_is_checked_after_2_t_and_a_second(
    polls_every: float,
) -> None:
    times = checks(MAX_INTERVAL_SECONDS, polls_every=polls_every)
    for effect in np.linspace(0.01, MAX_INTERVAL_SECONDS / 2 - 2, 500).tolist():
        seen = next(time for time in times if time >= effect)
        assert seen <= 2 * effect + 1


def test_checks_get_rare_and_never_end() -> None:
    times = checks(3600.0)
    assert sum(time < 60.0 for time in times) <= 10
    gaps = np.diff(times)
    assert gaps.max() <= MAX_INTERVAL_SECONDS + POLL
    assert len(times) < 75


def test_a_check_counts_from_its_beginning() -> None:
    schedule = CheckSchedule()
    schedule.checked("a", 10.0)
    assert not schedule.is_due("a", 10.1)
    schedule.checked("a", 12.0)
    assert not schedule.is_due("a", 13.9)
    assert schedule.is_due("a", 14.0)
    assert schedule.is_due("b", 12.0)
