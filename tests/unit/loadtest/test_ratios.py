from __future__ import annotations

from functools import cache

import pytest

from loadtest.bench.ratios import RATIOS, compute, failures
from loadtest.measurement import Measurement, MethodResult
from loadtest.results import Results
from loadtest.tally import MethodTally

PUBLISHED = {
    "coalescing_gain", "recommend_vs_echo", "recommend_fastest_vs_echo",
    "embedder_fastest_vs_echo", "gateway_cpu_vs_echo", "idle_p50_vs_floor",
    "p99_at_70_vs_idle_p50", "embedder_vs_echo", "embed_batch_vs_predictor",
    "embed_batch_vectors_per_s", "search_vs_single",
}  # fmt: skip
"""Names that readers of results.json rely on."""


def load(
    name: str,
    *,
    calls: int = 100,
    ms: float = 1.0,
    concurrency: int | None = 64,
    rate: float | None = None,
    client: str = "h2load",
    cpu: dict[str, float] | None = None,
    failures: int = 0,
) -> Measurement:
    tally = MethodTally()
    for _ in range(calls):
        tally.record(0, ms / 1000)
    for _ in range(failures):
        tally.record(14, 0.0)
    return Measurement(
        name=name,
        load="",
        client=client,
        duration_s=1.0,
        offered_per_s=rate,
        concurrency=concurrency,
        methods={"Recommend": MethodResult.of(tally)},
        cpu_s=cpu or {},
    )


def alone(name: str, ms: float) -> Measurement:
    return load(name, ms=ms, concurrency=1)


@cache  # histograms take their time to make
def measurements() -> tuple[Measurement, ...]:
    return (
        load("echo: recommend", calls=1000, cpu={"echo": 0.2}),
        load("echo: embed user", calls=1200),
        alone("echo: recommend", 0.5),
        load("embed user: grpcio", calls=900),
        load("embed user: Envoy", calls=3600),
        load("embed batch: grpcio", calls=400),
        load("search: milvus", calls=800),
        load("recommend: milvus", calls=600, cpu={"gateway": 0.18}),
        load("recommend: milvus, max batch 1", calls=100),
        load("recommend: resident, all on Envoy", calls=1400),
        alone("recommend: milvus", 5.0),
        alone("recommend: milvus, max batch 1", 5.0),
        load("recommend: milvus", ms=3.0, concurrency=None, rate=120.0),
        load("recommend: milvus", ms=12.0, concurrency=None, rate=420.0),
        load("recommend: milvus", ms=90.0, concurrency=None, rate=540.0),
    )


def everything() -> Results:
    return Results(
        "made",
        measurements=[*measurements()],
        figures={
            "predict_one_s": 0.0005,
            "milvus_one_s": 0.0025,
            "vectors_per_s_256": 128_000.0,
            "searches_per_s": 80.0,
        },
    )


def test_all_published_ratios_follow_from_a_full_run() -> None:
    ratios = compute(everything())
    assert ratios.keys() >= PUBLISHED
    expected = {
        "coalescing_gain": 6.0,
        "recommend_vs_echo": 0.6,
        "recommend_fastest_vs_echo": 1.4,
        "embedder_vs_echo": 0.75,
        "embedder_fastest_vs_echo": 3.0,
        "gateway_cpu_vs_echo": 300 / 200,
        "idle_p50_vs_floor": 5.0 / (0.5 + 2.5 + 3 * 0.5),
        "coalescing_idle_cost": 1.0,
        "p99_at_70_vs_idle_p50": 12.0 / 5.0,
        "embed_batch_vs_predictor": 256 * 400 / 128_000,
        "embed_batch_vectors_per_s": 256 * 400,
        "search_vs_single": 10.0,
    }
    for name, value in expected.items():
        assert ratios[name] == pytest.approx(value, rel=5e-3), name


def test_what_was_not_measured_has_no_ratio() -> None:
    results = everything()
    results.measurements = [m for m in results.measurements if not m.name.startswith("echo")]
    ratios = compute(results)
    assert "recommend_vs_echo" not in ratios
    assert "search_vs_single" in ratios
    assert compute(Results("nothing")) == {}


def test_a_load_with_failures_is_no_throughput() -> None:
    results = everything()
    results.measurements.append(load("recommend: resident", calls=9000, failures=1))
    assert compute(results)["recommend_fastest_vs_echo"] == pytest.approx(1.4)


def test_a_tail_of_which_a_hundredth_was_refused_has_no_p99() -> None:
    results = everything()
    results.measurements = [m for m in results.measurements if m.offered_per_s != 420.0]
    refusing = load("recommend: milvus", calls=98, failures=2, concurrency=None, rate=420.0)
    results.measurements.append(refusing)
    assert "p99_at_70_vs_idle_p50" not in compute(results)


def test_more_callers_than_the_full_load_have_a_ratio_of_their_own_and_may_be_refused() -> None:
    results = everything()
    before = compute(results)
    crowd = load("recommend: resident, all on Envoy", calls=1800, concurrency=256, failures=9)
    results.measurements.append(crowd)
    after = compute(results)
    assert after.pop("recommend_256_callers_vs_echo") == pytest.approx(1.8)
    assert after == before
    assert failures(results) == []


def test_the_most_in_time_is_the_highest_rate_with_a_short_p99_and_hardly_a_refusal() -> None:
    results = everything()
    for rate, ms, failed in ((500, 20.0, 0), (700, 49.0, 0), (800, 51.0, 0), (900, 40.0, 3)):
        results.measurements.append(
            load(
                "recommend: resident, all on Envoy",
                calls=rate, ms=ms, concurrency=None, rate=float(rate), failures=failed,
            )
        )  # fmt: skip
    assert compute(results)["recommend_in_50_ms"] == 700


def test_each_is_compared_with_the_echo_that_was_measured_beside_it() -> None:
    results = everything()
    place = next(i for i, m in enumerate(results.measurements) if m.name == "recommend: milvus")
    results.measurements.insert(place + 1, load("echo: recommend", calls=1200))
    assert compute(results)["recommend_vs_echo"] == pytest.approx(0.5)


def with_ratios(**ratios: float) -> Results:
    return Results("made", ratios=ratios)


def test_the_check_accepts_what_is_aimed_at_and_names_what_is_out_of_bounds() -> None:
    assert not failures(
        with_ratios(**{ratio.name: ratio.aim for ratio in RATIOS.values() if ratio.aim})
    )
    (line,) = failures(with_ratios(coalescing_gain=1.0, recommend_vs_echo=0.5, unbounded=0.0))
    assert line.startswith("coalescing_gain is 1")
    (line,) = failures(with_ratios(gateway_cpu_vs_echo=50.0))
    assert "≤ 3" in line


def test_the_check_names_loads_whose_calls_failed() -> None:
    closed = load("recommend: milvus", failures=3)
    burst = load("recommend: milvus", failures=5, concurrency=None, rate=900.0)
    results = Results("made", measurements=[closed, burst])
    assert failures(results) == ["recommend: milvus at : 3 calls failed"]


def test_the_check_is_more_generous_than_the_aims() -> None:
    for ratio in RATIOS.values():
        assert (ratio.aim is None) == (ratio.accepted is None), ratio.name
        if ratio.aim is not None and ratio.accepted is not None:
            assert ratio.accepts(ratio.aim), ratio.name
            assert not ratio.reaches_aim(ratio.accepted), ratio.name


def test_every_ratio_can_be_computed_from_what_the_runs_measure() -> None:
    results = everything()
    results.measurements += [
        load("recommend: milvus, two embedders"), load("recommend: milvus, two searches"),
        load("recommend: milvus, TLS and tokens"), load("recommend: lite"),
        load("recommend: lite, max batch 1"), load("recommend: resident"),
        alone("recommend: resident", 4.0), alone("recommend: resident, all on Envoy", 4.0),
        load("recommend: resident, all on Envoy", concurrency=None, rate=980.0),
        load("recommend: resident, all on Envoy", concurrency=256, calls=1800),
        load("search: milvus 4,000", cpu={"search": 0.1}),
        load("search: milvus 400", cpu={"search": 0.1}),
        load("search: lite 4,000", cpu={"search": 0.2}),
        load("search: lite 400", cpu={"search": 0.1}),
    ]  # fmt: skip
    results.figures["exact_one_s"] = 0.0001
    assert compute(results).keys() == RATIOS.keys()


def test_the_cost_of_a_larger_catalogue_is_stated_for_ten_times_the_movies() -> None:
    loads = [
        load("search: milvus 1,000", cpu={"search": 0.1, "milvus": 0.1}),
        load("search: milvus 10,000", cpu={"search": 0.1, "milvus": 0.3}),
        load("search: milvus 100,000", cpu={"search": 0.2, "milvus": 0.6}),
        alone("search: milvus 100,000", 3.0),
    ]
    ratios = compute(Results("growth", measurements=loads))
    assert ratios == {"milvus_search_cost_tenfold": pytest.approx(2.0)}
