"""Which Pythons `make` takes, for the environment and for the second run of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup(path: Path) -> subprocess.CompletedProcess[str]:
    """Return what `make setup` would do with the commands of one folder, for a new environment."""
    return run_make(path, "setup")


def run_make(path: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Return what `make` would do, with the commands and the home of one folder."""
    make = shutil.which("make")
    assert make
    return subprocess.run(
        [make, "-n", "-C", str(ROOT), target, f"VENV={path}/venv"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": str(path), "HOME": str(path)},
    )


def write_command(folder: Path, name: str, exit_code: int, *, version: str = "") -> None:
    command = folder / name
    command.parent.mkdir(parents=True, exist_ok=True)
    script = f"case $2 in *print*) echo '{version}';; esac\nexit {exit_code}\n"
    command.write_text(f"#!/bin/sh\n{script}")
    command.chmod(0o755)


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3.13", "python3"])
def test_any_python_that_is_new_enough_is_found(name: str, tmp_path: Path) -> None:
    write_command(tmp_path, name, 0)
    assert f"\n{name} -m venv" in setup(tmp_path).stdout


def test_a_command_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    write_command(tmp_path, "python3.11", 127)  # as pyenv's, for a version that is not in use
    write_command(tmp_path, "python3.13", 0)
    assert "\npython3.13 -m venv" in setup(tmp_path).stdout


def test_without_any_it_says_what_is_needed(tmp_path: Path) -> None:
    failed = setup(tmp_path)
    assert failed.returncode == 2
    assert "no Python 3.11, 3.12 or 3.13" in failed.stderr


@pytest.mark.parametrize("name", ["python3.13", ".pyenv/versions/3.13.0/bin/python"])
def test_the_tests_run_again_on_the_newest_python(name: str, tmp_path: Path) -> None:
    write_command(tmp_path, "venv/bin/python", 0, version="(3, 11)")
    write_command(tmp_path, "python3.11", 0, version="(3, 11)")
    write_command(tmp_path, name, 0, version="(3, 13)")
    newest = name if name == "python3.13" else tmp_path / name
    done = run_make(tmp_path, "test-newest")
    assert f"test VENV=.venv-newest PYTHON={newest};" in done.stdout
    assert ".venv-newest/bin/python -m pytest" in done.stdout


def test_the_tests_do_not_run_again_on_the_same_python(tmp_path: Path) -> None:
    write_command(tmp_path, "venv/bin/python", 0, version="(3, 11)")
    write_command(tmp_path, "python3.11", 0, version="(3, 11)")
    done = run_make(tmp_path, "test-newest")
    assert done.returncode == 0
    assert "has the newest Python here" in done.stdout
    assert "-m pytest" not in done.stdout
