from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import ENVIRONMENT, marquee

from fusion.bundle import Bundle
from suite.parent_death import with_parent_death_signal
from training.config import PRESETS

RATING = ("--objective", "rating")
MARQUEE = (sys.executable, "-m", "marquee_cli")
PATIENCE = 120  # seconds, far more than any of this takes


def report(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "report.json").read_text())
    return content


def figures(out: Path) -> list[tuple[float, float]]:
    return [(epoch["train_rmse"], epoch["validation_rmse"]) for epoch in report(out)["history"]]


def wait_for_checkpoint(process: subprocess.Popen[Any], out: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (out / "checkpoint.npz").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert marquee("data", "--synthetic", "--out", folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody disturbed; its bundle is in it."""
    out = tmp_path_factory.mktemp("trained")
    done = marquee("train", *RATING, "--data", data, "--out", out, "--bundle", out / "bundle")
    assert done.returncode == 0, done.stderr
    assert "RMSE on the test ratings" in done.stdout
    assert "training: 100%" in done.stderr
    return out


def test_the_synthetic_data_set_is_trained_with_the_small_preset(trained: Path) -> None:
    expected = PRESETS["small"].model_copy(update={"objective": "rating"})
    assert report(trained)["config"] == expected.model_dump()


def test_a_run_killed_in_mid_epoch_and_resumed_ends_with_the_same_figures(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    arguments = ("train", *RATING, "--data", data, "--out", tmp_path, "--bundle", tmp_path / "b")
    with subprocess.Popen(
        with_parent_death_signal([*MARQUEE, *map(str, arguments)]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as victim:
        wait_for_checkpoint(victim, tmp_path)
        victim.send_signal(signal.SIGKILL)
    assert not (tmp_path / "b").exists()

    resumed = marquee(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert figures(tmp_path) == figures(trained)
    assert report(tmp_path)["evaluation"] == report(trained)["evaluation"]
    versions = {Bundle.load(path).manifest.version for path in (tmp_path / "b", trained / "bundle")}
    assert len(versions) == 1


def test_a_run_that_is_interrupted_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    arguments = ("train", *RATING, "--data", data, "--epochs=1000", "--patience=1000")
    with subprocess.Popen(
        with_parent_death_signal(
            [*MARQUEE, *map(str, arguments), f"--out={tmp_path}", f"--bundle={tmp_path}/b"]
        ),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_checkpoint(process, tmp_path)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("marquee: stopped; --resume continues")


def launched(
    data: Path, out: Path, logs: Path, *options: str, objective: Sequence[str] = RATING
) -> subprocess.Popen[str]:
    script = Path(sys.executable).with_name("marquee")
    launcher = ("-m", "paddle.distributed.launch", f"--log_dir={logs}", *options)
    arguments = ("train", *objective, "--data", data, "--out", out, "--bundle", out / "bundle")
    return subprocess.Popen(
        with_parent_death_signal([sys.executable, *launcher, *map(str, (script, *arguments))]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT | {"PADDLE_DISTRI_BACKEND": "gloo"},
        start_new_session=True,
    )


def finish(launchers: Sequence[subprocess.Popen[str]]) -> None:
    try:
        for launcher in launchers:
            output, _ = launcher.communicate(timeout=PATIENCE)
            assert launcher.returncode == 0, output[-3000:]
    finally:
        for launcher in launchers:
            with launcher, suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)


def agrees(trained: Path, out: Path) -> None:
    alone, together = report(trained), report(out)
    for name, figure in alone["evaluation"].items():
        assert together["evaluation"][name] == pytest.approx(figure, abs=0.005), name
    assert len(together["history"]) == len(alone["history"])
    Bundle.load(out / "bundle")


def test_two_processes_train_the_model_of_one(data: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finish([launched(data, out, tmp_path / "logs", "--nproc_per_node=2", "--backend=gloo")])
    agrees(trained, out)


def test_lists_are_what_is_trained_for_unless_told_otherwise(data: Path, tmp_path: Path) -> None:
    arguments = ("train", "--data", data, "--out", tmp_path, "--bundle", tmp_path / "bundle")
    done = marquee(*arguments)
    assert done.returncode == 0, done.stderr
    assert "NDCG, with all that is known" in done.stdout
    assert "fusion-ranking" in done.stdout.splitlines()[-1]
    assert report(tmp_path)["config"] == PRESETS["small"].model_dump()


def test_of_two_processes_one_trains_the_ranking(data: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ("--nproc_per_node=2", "--backend=gloo")
    finish([launched(data, out, tmp_path / "logs", *options, objective=())])
    assert Bundle.load(out / "bundle").manifest.objective == "ranking"


@pytest.mark.slow
def test_two_machines_train_the_model_of_one(data: Path, trained: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    out = tmp_path / "out"
    options = (f"--master={master}", "--nnodes=2", "--nproc_per_node=1")
    finish(
        [
            launched(data, out, tmp_path / f"logs{rank}", *options, f"--rank={rank}")
            for rank in range(2)
        ]
    )
    agrees(trained, out)


def test_a_bundle_is_evaluated_on_the_test_ratings_of_its_run(data: Path, trained: Path) -> None:
    done = marquee("evaluate", "--data", data, "--bundle", trained / "bundle", "--run", trained)
    assert done.returncode == 0, done.stderr
    printed = {name: float(value) for value, name in map(str.split, done.stdout.splitlines())}
    assert printed == pytest.approx(report(trained)["evaluation"], abs=1e-4)


def test_models_are_compared_and_the_report_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    models = ("--model", "popularity", "--model", "ease", "--model", "biases")
    done = marquee("evaluate", "--data", data, "--out", out, *models, "--json")
    assert done.returncode == 0, done.stderr
    assert "random: ease NDCG@10 0." in done.stderr
    assert json.loads(done.stdout) == json.loads((out / "results.json").read_text())
    assert {path.name for path in out.iterdir()} == {
        "results.json",
        "report.md",
        "report.png",
        "report.html",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--data", "nowhere"], "nowhere holds no data"),
        (["evaluate", "--data", "DATA", "--model", "best"], "--model: there is no best, only "),
        (["train", "--data", "nowhere"], "nowhere holds no data"),
        (["data", "--synthetic", "--out", "/dev/null/made"], "Not a directory"),
        (["train", "--data", "DATA", "--bundle", "DATA"], "exists and is not a bundle"),
        (["evaluate", "--data", "DATA", "--bundle=no"], "no is missing or not a folder"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_by_the_exit_code(
    arguments: list[str], message: str, data: Path
) -> None:
    done = marquee(*(str(data) if each == "DATA" else each for each in arguments))
    assert done.returncode == 1
    assert done.stderr.startswith("marquee: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_bundle_is_refused_before_the_training(
    data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = marquee("train", "--data", str(data), "--bundle", str(data), "--out", str(run))
    assert done.returncode == 1
    assert not run.exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "0"), ("--epochs", "many"), ("--objective", "popularity")]
)
def test_a_bad_value_is_misuse_and_told_by_the_name_of_its_option(option: str, value: str) -> None:
    done = marquee("train", option, value)
    assert done.returncode == 2
    assert done.stderr.startswith(f"marquee: Invalid value for '{option}': ")
    assert done.stderr.count("\n") == 1
