"""Four times as many callers as it takes to saturate the gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import Built, marquee, serving

SATURATING = 64
GROWTH_MIB = 64


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kib) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("host", ["grpcio", "envoy"])
def test_under_overload_what_is_admitted_is_answered_in_time_and_the_rest_is_refused(
    built: Built, tmp_path: Path, host: str
) -> None:
    with serving(
        built.bundle, tmp_path / "milvus.db", tmp_path / "log", MARQUEE_GATEWAY_SERVER=host
    ) as running:
        step = marquee(
            *("index", "--data", built.data),
            *("--embedder-target", running.embedder, "--search-target", running.search),
        )
        assert step.returncode == 0, step.stderr
        before = [resident_mib(pid) for pid in running.pids()]
        step = marquee(
            *("bench", "run", "Recommend", "--target", running.gateway, "--users", "600"),
            *("-c", f"{SATURATING},{4 * SATURATING}", "--duration", "6"),
            *("--out", tmp_path / "load.json"),
        )
        assert step.returncode == 0, step.stderr
        after = [resident_mib(pid) for pid in running.pids()]
    saturated, overloaded = (
        measured["methods"]["Recommend"]
        for measured in json.loads((tmp_path / "load.json").read_text())["measurements"]
    )
    assert saturated["failures"] == {}
    # UNAVAILABLE is the load generator's word for what HTTP/2 keeps waiting at the client
    assert overloaded["failures"]
    assert set(overloaded["failures"]) <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert overloaded["percentiles_ms"]["99"] < 3 * saturated["percentiles_ms"]["99"]
    assert overloaded["calls"] > saturated["calls"] / 3, "refusing must not displace answering"
    growth = [now - then for now, then in zip(after, before, strict=True)]
    assert max(growth) < GROWTH_MIB, growth
