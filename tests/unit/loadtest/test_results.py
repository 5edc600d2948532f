from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from tests.fixtures.results import measured, some

from loadtest.bench.ratios import RATIOS, Ratio
from loadtest.report import compare, table
from loadtest.report.markdown import sections
from loadtest.results import SCHEMA, Results, ResultsError

NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}
FILE = {
    "type": "object",
    "required": ["schema", "title", "measured_at", "machine", "measurements", "ratios", "figures"],
    "properties": {
        "schema": {"const": SCHEMA},
        "measured_at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
        "machine": {"type": "object", "required": ["processor", "cpus", "memory", "python"]},
        "ratios": NUMBERS,
        "figures": NUMBERS,
        "notes": {"type": "array", "items": {"type": "string"}},
        "measurements": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "load", "client", "duration_s", "calls", "per_second"],
                "properties": {
                    "per_second": {"type": "number", "minimum": 0},
                    "cpu_s": NUMBERS,
                    "methods": {
                        "type": "object",
                        "minProperties": 1,
                        "additionalProperties": {
                            "type": "object",
                            "required": ["calls", "failures", "percentiles_ms", "histogram"],
                            "properties": {
                                "failures": COUNTS,
                                "percentiles_ms": {
                                    **NUMBERS,
                                    "required": ["50", "90", "95", "99", "99.9"],
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""What readers of the file may rely on."""


LESS_IS_BETTER = {
    "gateway_cpu_vs_echo", "idle_p50_vs_floor", "idle_p50_vs_floor_resident",
    "coalescing_idle_cost", "p99_at_70_vs_idle_p50", "p99_at_70_vs_idle_p50_all_envoy",
    "milvus_search_cost_tenfold", "lite_search_cost_tenfold",
}  # fmt: skip
"""Times and costs; all others are gains and throughputs."""


def test_a_file_has_the_promised_form(tmp_path: Path) -> None:
    some().write(tmp_path / "new" / "results.json")
    content = json.loads((tmp_path / "new" / "results.json").read_text())
    jsonschema.validate(content, FILE)
    assert content["measurements"][1]["methods"]["Recommend"]["failures"] == {
        "RESOURCE_EXHAUSTED": 5
    }


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    some().write(tmp_path / "results.json")
    again = Results.read(tmp_path / "results.json")
    assert again == replace(some(), measured_at=again.measured_at)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}', '{"schema": 1, "measurements": [{}]}'],
)
def test_a_foreign_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"foreign\.json"):
        Results.read(path)
    with pytest.raises(ResultsError, match="absent"):
        Results.read(tmp_path / "absent.json")


def test_throughput_and_cpu_count_successes_only() -> None:
    measurement = measured(calls=1000, failures=500)
    assert measurement.per_second == 100.0
    assert measurement.cpu_us_per_call("gateway") == 500.0
    assert measurement.failed == 500


def test_the_table_shows_every_load_and_its_failures() -> None:
    console = Console(width=200, record=True, file=None)
    with console.capture() as capture:
        table.show(some(), console)
    text = capture.get()
    assert "RESOURCE_EXHAUSTED 5" in text
    assert text.count("recommend") == 2
    assert "gateway 500" in text


def test_a_comparison_finds_what_became_worse_and_what_better() -> None:
    before, after = some(), some()
    after.measurements[0] = measured(rate=100.0, milliseconds=4.0)
    after.measurements[2] = measured("echo", rate=None, milliseconds=1.0, calls=1500)
    after.ratios = {"coalescing_gain": 3.0}
    changes = {(each.what, each.figure): each for each in compare.compare(before, after)}
    assert changes["ratio", "coalescing_gain"].is_worse(0.1)
    slower = changes["recommend at 100/s", "p50 ms"]
    assert slower.change == pytest.approx(1.0, abs=0.01)
    assert slower.is_worse(0.5)
    faster = changes["echo at 64 callers", "calls/s"]
    assert faster.change == pytest.approx(0.5)
    assert not faster.is_worse(0.0)
    assert not any(each.is_worse(0.0) for key, each in changes.items() if "200/s" in key[0])


def test_the_rate_of_an_open_loop_is_neither_better_nor_worse() -> None:
    changes = compare.compare(some(), some())
    (rate,) = (c for c in changes if c.what == "recommend at 100/s" and c.figure == "calls/s")
    assert rate.more_is_better is None


@pytest.mark.parametrize("ratio", RATIOS.values(), ids=RATIOS)
def test_a_ratio_is_worse_when_it_moves_against_its_direction(ratio: Ratio) -> None:
    before, after = Results("a", ratios={ratio.name: 1.0}), Results("b", ratios={ratio.name: 1.5})
    (grown,), (fallen,) = compare.compare(before, after), compare.compare(after, before)
    less_is_better = ratio.name in LESS_IS_BETTER
    assert grown.is_worse(0.1) is less_is_better
    assert fallen.is_worse(0.1) is not less_is_better


def test_a_ratio_of_another_version_is_neither_better_nor_worse() -> None:
    (change,) = compare.compare(Results("a", ratios={"x": 1}), Results("b", ratios={"x": 9}))
    assert change.more_is_better is None


def test_the_comparison_prints_each_figure_and_what_only_one_run_has() -> None:
    before, after = some(), some()
    after.measurements.pop()
    console = Console(width=160)
    with console.capture() as capture:
        console.print(compare.table(compare.compare(before, after), 0.1))
    assert "recommend at 200/s" in capture.get()
    assert compare.missing(before, after) == ["echo at 64 callers"]


def test_markdown_says_which_aims_were_missed() -> None:
    results = some()
    results.ratios["recommend_vs_echo"] = 0.2
    text = sections(results)
    assert "| 6.5 | ≥ 6 | ≥ 3 |" in text
    assert "| 0.2 (missed) | ≥ 0.45 | ≥ 0.2 |" in text
    assert RATIOS["recommend_vs_echo"].meaning in text
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [{line.count("|") for line in lines} for lines in tables] == [{7}, {6}, {9}, {3}]
    assert text.endswith("- the machine was busy\n")
