from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.parent_death import with_parent_death_signal

pytestmark = [pytest.mark.slow, pytest.mark.movielens, pytest.mark.timeout(3600)]

MARQUEE = str(Path(sys.executable).with_name("marquee"))
CORES, MINUTES = 2, 15


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = os.environ.get("MOVIELENS_DIR")
    if not source:
        pytest.skip("MOVIELENS_DIR names no folder with MovieLens-1M")
    folder = tmp_path_factory.mktemp("data")
    command = [MARQUEE, "data", f"--from={source}", f"--out={folder}"]
    subprocess.run(with_parent_death_signal(command), check=True)
    return folder


def train(data: Path, out: Path, *launcher: str, objective: str = "rating") -> dict[str, Any]:
    options = (f"--objective={objective}", f"--data={data}", f"--out={out}", f"--bundle={out}/b")
    command = [sys.executable, *launcher, MARQUEE, "train", *options]
    subprocess.run(with_parent_death_signal(command), check=True, timeout=3000)
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    report = train(data, tmp_path_factory.mktemp("alone"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return report | {"cpu_seconds": used}


def test_the_full_preset_reaches_an_rmse_of_0_855_in_fifteen_minutes_of_two_cores(
    alone: dict[str, Any],
) -> None:
    evaluation = alone["evaluation"]
    assert evaluation["rmse"] <= 0.855
    assert evaluation["rmse_demographics_only"] < evaluation["baseline_item_mean"]
    # Of processor time, so that what else the machine does is not counted.
    assert alone["cpu_seconds"] <= CORES * MINUTES * 60
    assert alone["loading_share"] < 0.1


def test_two_processes_reach_the_rmse_of_one_on_movielens(
    alone: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    launcher = ("-m", "paddle.distributed.launch", "--nproc_per_node=2", "--backend=gloo")
    together = train(data, tmp_path, *launcher, f"--log_dir={tmp_path}/logs")
    assert together["evaluation"]["rmse"] == pytest.approx(alone["evaluation"]["rmse"], abs=0.005)


def test_lists_beat_popularity_for_whoever_is_known_and_by_demographics(
    data: Path, tmp_path: Path
) -> None:
    report = train(data, tmp_path, objective="ranking")
    figures = report["evaluation"]
    popularity = figures["baseline_popularity_ndcg_at_10"]
    assert figures["ndcg_at_10_nothing_known"] == pytest.approx(popularity, abs=1e-4)
    assert figures["ndcg_at_10_demographics_only"] >= 1.05 * popularity
    assert figures["ndcg_at_10"] >= 2.2 * popularity
    assert report["seconds"] <= MINUTES * 60
