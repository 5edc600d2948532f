"""Admission by waiting time, on a clock of the test's own."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator

import pytest

from rpckit.serving.admission import ALWAYS_ADMITTED, WINDOW_SECONDS, Admission, MethodAdmission

MOST = 1024
MAX_WAIT = 0.06
PATIENT = 5.0


@pytest.fixture
def server() -> Admission:
    return Admission(max_in_flight=MOST, max_wait=MAX_WAIT)


class Service:
    """Answers one call after the other in the order of their arrival, each in `cost` seconds."""

    def __init__(self, admission: MethodAdmission, cost: float) -> None:
        self.admission = admission
        self.cost = cost
        self.now = 0.0
        self.refused = 0
        self.times: list[float] = []
        """How long each call took, in the order of their answers."""
        self._free = 0.0
        self._ends: list[tuple[float, float]] = []

    def arrive(self, at: float, budget: float = PATIENT) -> bool:
        """Let a call arrive; whether it is admitted."""
        self.run(at)
        admitted = self.admission.enter(at, budget)
        if admitted:
            self._free = max(self._free, at) + self.cost
            heapq.heappush(self._ends, (self._free, at))
        self.refused += not admitted
        return admitted

    def load(self, rate: float, seconds: float) -> None:
        """Let calls arrive at random, for some seconds from now."""
        for at in poisson(self.now, rate, seconds):
            self.arrive(at)

    def stall(self, seconds: float) -> None:
        """Answer nothing for a time from now."""
        late = self.now + seconds - max(self.now, min((end for end, _ in self._ends), default=0))
        self._ends = [(end + late, began) for end, began in self._ends]
        self._free = max(self._free, self.now) + seconds

    def run(self, until: float) -> None:
        """Answer what is due."""
        while self._ends and self._ends[0][0] <= until:
            end, began = heapq.heappop(self._ends)
            self.times.append(end - began)
            self.admission.leave(answered=True)
        self.now = until


def poisson(begin: float, rate: float, seconds: float) -> Iterator[float]:
    generator, at = random.Random(1), begin
    while (at := at + generator.expovariate(rate)) < begin + seconds:
        yield at


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.floor(share * (len(values) - 1))]


def test_a_load_below_what_the_service_can_do_is_not_refused(server: Admission) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(0.85 * 3000, 30)
    assert service.refused == 0


def test_under_four_times_the_load_calls_wait_no_longer_than_the_bound_and_nothing_is_idle(
    server: Admission,
) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(4 * 3000, 3)
    service.times.clear()  # the burst at the beginning
    service.load(4 * 3000, 5)
    assert len(service.times) > 0.99 * 5 * 3000
    assert percentile(service.times, 0.99) < 1.15 * MAX_WAIT
    assert service.refused > 0


def test_a_burst_is_admitted_even_by_a_service_that_knows_no_rate(server: Admission) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    assert all(service.arrive(0.0) for _ in range(500))


def test_what_arrived_during_a_stall_is_answered(server: Admission) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(0.7 * 3000, 2)
    for _ in range(5):
        service.stall(0.1)
        service.load(0.7 * 3000, 2)
    assert service.refused == 0


def test_a_burst_never_exceeds_the_most_calls_of_all_rpcs_together(server: Admission) -> None:
    search, write = server.for_method(), server.for_method()
    assert all(search.enter(0.0, PATIENT) for _ in range(MOST - 10))
    assert [write.enter(0.0, PATIENT) for _ in range(20)] == [True] * 10 + [False] * 10
    search.leave(answered=True)
    assert write.enter(0.0, PATIENT)


def test_a_standing_queue_of_expensive_calls_is_cut_at_those_that_are_always_admitted(
    server: Admission,
) -> None:
    service = Service(server.for_method(), cost=1.0)
    assert all(service.arrive(0.0) for _ in range(ALWAYS_ADMITTED + 1))
    for tenth in range(1, 10):
        admitted = service.arrive(tenth * WINDOW_SECONDS / 5)
    assert not admitted


def test_expensive_calls_take_no_place_of_a_cheap_rpc(server: Admission) -> None:
    cheap, expensive = (Service(server.for_method(), cost) for cost in (0.0001, 1.0))
    for step in range(1000):
        expensive.arrive(step / 100)
        assert cheap.arrive(step / 100)
    assert expensive.refused


def test_fast_refusals_by_the_handler_are_no_rate(server: Admission) -> None:
    admission = server.for_method()
    for step in range(10_000):
        assert admission.enter(step / 10_000, PATIENT)
        admission.leave(answered=False)
    assert admission.limit == ALWAYS_ADMITTED


def test_a_lone_caller_is_admitted_however_short_his_deadline_and_however_slow_the_calls(
    server: Admission,
) -> None:
    admission = server.for_method()
    for step in range(100):
        assert admission.enter(step * 10.0, 0.001)
        admission.leave(answered=True)


def test_in_an_overload_a_call_is_refused_whose_deadline_would_pass_while_it_waits(
    server: Admission,
) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(2 * 3000, 2)
    assert service.admission.in_flight > 150
    assert not service.arrive(service.now + 0.03, budget=0.02)
    assert service.arrive(service.now, budget=PATIENT)


def test_idle_time_changes_nothing_that_was_learned(server: Admission) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(2 * 3000, 2)
    limit = service.admission.limit
    service.load(1, 3600)
    assert service.admission.limit >= 0.9 * limit


def test_the_limit_follows_a_service_that_becomes_slower_and_faster(server: Admission) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    for rate in (3000, 1500, 6000):
        service.cost = 1 / rate
        service.load(2 * rate, 4)
        assert service.admission.limit == pytest.approx(rate * MAX_WAIT, rel=0.1)


def test_while_nothing_is_answered_no_more_than_a_burst_is_admitted_and_then_all_as_before(
    server: Admission,
) -> None:
    service = Service(server.for_method(), cost=1 / 3000)
    service.load(0.7 * 3000, 2)
    service.stall(3.0)
    service.load(0.7 * 3000, 3)
    assert server.in_flight <= MOST
    assert service.refused > 0
    service.load(0.7 * 3000, 2)
    service.refused = 0
    service.load(0.7 * 3000, 2)
    assert service.refused == 0


def test_a_most_below_the_calls_that_are_always_admitted_holds() -> None:
    admission = Admission(max_in_flight=3, max_wait=MAX_WAIT).for_method()
    assert [admission.enter(0.0, PATIENT) for _ in range(5)] == [True] * 3 + [False] * 2
    assert admission.limit == 3
