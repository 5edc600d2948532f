from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fusion import durable_files
from fusion.durable_files import replace_file, replace_folder

CHILD = """
import os, sys
from pathlib import Path
from fusion import durable_files

kind, folder, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def dying(real):
    def step(*args):
        global steps
        if steps == 0:
            os._exit(9)  # as SIGKILL: nothing is cleaned up
        steps -= 1
        return real(*args)
    return step

for name in ("fsync", "rename", "replace"):
    setattr(os, name, dying(getattr(os, name)))
durable_files._exchange = dying(durable_files._exchange)
replace = durable_files.replace_folder if kind == "folder" else durable_files.replace_file
replace(folder / "draft", folder / "kept")
"""


def contents(path: Path) -> set[str]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.read_text() for file in files}


def write(path: Path, kind: str, content: str) -> None:
    if kind == "file":
        path.write_text(content)
        return
    path.mkdir()
    for name in ("one", "two"):
        (path / name).write_text(content)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_process_killed_at_any_step_leaves_the_old_or_the_new(kind: str, tmp_path: Path) -> None:
    outcomes = []
    for steps in range(20):
        folder = tmp_path / str(steps)
        folder.mkdir()
        write(folder / "kept", kind, "old")
        write(folder / "draft", kind, "new")
        command = [sys.executable, "-c", CHILD, kind, str(folder), str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        outcomes.append(contents(folder / "kept"))
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
    assert {"old"} in outcomes
    assert outcomes[-1] == {"new"}
    assert all(outcome in ({"old"}, {"new"}) for outcome in outcomes)


def test_a_folder_moves_to_where_none_was(tmp_path: Path) -> None:
    write(tmp_path / "draft", "folder", "new")
    replace_folder(tmp_path / "draft", tmp_path / "kept")
    assert contents(tmp_path / "kept") == {"new"}
    assert not (tmp_path / "draft").exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_replaced_folder_takes_the_place_of_the_draft(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(durable_files, "_exchange", lambda one, other: False)
    write(tmp_path / "kept", "folder", "old")
    write(tmp_path / "draft", "folder", "new")
    replace_folder(tmp_path / "draft", tmp_path / "kept")
    assert contents(tmp_path / "kept") == {"new"}
    assert contents(tmp_path / "draft") == {"old"}


def test_a_file_is_on_disk_before_its_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: steps.append("sync"))
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *names: (steps.append("rename"), real(*names))[1])
    (tmp_path / "draft").write_text("new")
    replace_file(tmp_path / "draft", tmp_path / "kept")
    assert steps == ["sync", "rename", "sync"]
