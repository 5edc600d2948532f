"""Four times as many callers as it takes to saturate the gateway."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest
from tests.e2e.conftest import Built, marquee, serving

from gateway.settings import GatewaySettings

SATURATING = 64
OVERLOADING = 4 * SATURATING
CROWD = 16 * SATURATING
"""More callers than wait any service out: some are refused."""
ROUNDS = (*(SATURATING, OVERLOADING) * 3, CROWD)
"""Turn by turn, because a shared machine has slow seconds."""
MAX_WAIT_MS = GatewaySettings.model_fields["max_wait_ms"].default
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
            *(
                "-c",
                ",".join(map(str, ROUNDS)),
                "--duration",
                "3",
                "--warm-up",
                "1",
                "--connections",
                "8",
            ),
            *("--out", tmp_path / "load.json"),
        )
        assert step.returncode == 0, step.stderr
        after = [resident_mib(pid) for pid in running.pids()]
    loads = defaultdict(list)
    for measured in json.loads((tmp_path / "load.json").read_text())["measurements"]:
        loads[measured["concurrency"]].append(measured["methods"]["Recommend"])
    saturated, overloaded, (crowded,) = loads[SATURATING], loads[OVERLOADING], loads[CROWD]
    assert all(each["failures"] == {} for each in saturated)
    assert {code for each in overloaded for code in each["failures"]} <= {"RESOURCE_EXHAUSTED"}
    assert p99(overloaded) < 3 * max(p99(saturated), MAX_WAIT_MS)
    assert crowded["failures"].keys() == {"RESOURCE_EXHAUSTED"}
    assert crowded["calls"] > saturated[-1]["calls"] / 3, "refusing must not displace answering"
    growth = [now - then for now, then in zip(after, before, strict=True)]
    assert max(growth) < GROWTH_MIB, growth


def p99(loads: list[dict]) -> float:
    return median(each["percentiles_ms"]["99"] for each in loads)
