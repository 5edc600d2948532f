from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.telemetry import Telemetry

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy/grafana/marquee.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"

FROM_PROMETHEUS = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of buckets."""


def published() -> dict[str, set[str]]:
    """Return the samples that a service publishes, each with its labels."""
    samples: dict[str, set[str]] = {"up": set()}
    for metric in metrics.METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        samples |= {metric.name + suffix: set(metric.labels) for suffix in suffixes}
    for family in Telemetry("kiosk").registry.collect():
        samples |= {sample.name: set(sample.labels) for sample in family.samples}
    return samples


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield (where, PromQL) for all of the dashboard and the alerts."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield f"dashboard: {panel['title']}", target["expr"]
    for rule in ALERTS.read_text().split("- alert: ")[1:]:
        match = re.search(r"expr: (?:\|\n)?(.*?)\n\s+for: ", rule, re.DOTALL)
        assert match, rule
        yield f"alert: {rule.split()[0]}", match[1]


EXPRESSIONS = list(expressions())
each_expression = pytest.mark.parametrize(
    "expression", [text for _, text in EXPRESSIONS], ids=[where for where, _ in EXPRESSIONS]
)

_SELECTOR = re.compile(r"\b((?:marquee|process|python)_\w+|up)\b(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")


@each_expression
def test_every_metric_and_label_that_is_asked_for_exists(expression: str) -> None:
    samples = published()
    known_labels = set(FROM_PROMETHEUS)
    selectors = _SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert name in samples
        labels = samples[name] | FROM_PROMETHEUS
        known_labels |= labels
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= labels, name
    for grouping in _GROUPING.findall(expression):
        assert {label.strip() for label in grouping.split(",")} <= known_labels


@each_expression
def test_brackets_are_balanced(expression: str) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_legends_name_labels_that_the_expression_keeps() -> None:
    for panel in panels():
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            grouped = _GROUPING.findall(target["expr"])
            if grouped:
                kept = {label.strip() for group in grouped for label in group.split(",")}
                assert shown <= kept, panel["title"]


def test_the_dashboard_shows_every_metric_that_the_services_publish() -> None:
    text = " ".join(expression for where, expression in EXPRESSIONS if "dashboard" in where)
    assert [metric.name for metric in metrics.METRICS if metric.name not in text] == []


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_are_named_once_and_explained() -> None:
    rules = ALERTS.read_text().split("- alert: ")[1:]
    names = [rule.split()[0] for rule in rules]
    assert len(set(names)) == len(names) > 0
    operations = (ROOT / "docs/operations.md").read_text()
    assert [name for name in names if f"`{name}`" not in operations] == []
    for rule in rules:
        assert "severity: " in rule
        assert "summary: " in rule


@pytest.mark.parametrize("job", ["gateway", "embedder", "search"])
def test_the_jobs_of_alerts_and_dashboard_are_those_that_are_scraped(job: str) -> None:
    assert f"job_name: {job}\n" in CONFIG.read_text()
