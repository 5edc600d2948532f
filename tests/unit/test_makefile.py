"""Which Python `make` takes for the environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup(path: Path) -> subprocess.CompletedProcess[str]:
    """Return what `make setup` would do with the commands of one folder, for a new environment."""
    make = shutil.which("make")
    assert make
    return subprocess.run(
        [make, "-n", "-C", str(ROOT), "setup", f"VENV={path}/venv"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": str(path)},
    )


def write_command(folder: Path, name: str, exit_code: int) -> None:
    command = folder / name
    command.write_text(f"#!/bin/sh\nexit {exit_code}\n")
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
