from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rpckit.errors import StartupError
from rpckit.security.watched_files import FileWatcher


def number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise StartupError(f"{path} holds no number") from error


def watch(path: Path, text: str) -> FileWatcher[int]:
    path.write_text(text)
    return FileWatcher([path], lambda: number_in(path), interval=0)


def test_a_change_is_reloaded(tmp_path: Path) -> None:
    path = tmp_path / "number"
    watcher = watch(path, "1000")
    assert watcher.get() == 1000
    path.write_text("20000")
    assert watcher.get() == 20000


def test_the_value_is_the_same_object_until_the_file_changes(tmp_path: Path) -> None:
    watcher = watch(tmp_path / "number", "1000")
    assert watcher.get() is watcher.get()


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "link"
    old.write_text("1")
    new.write_text("2")
    link.symlink_to(old)
    watcher = FileWatcher([link], lambda: number_in(link), interval=0)
    link.unlink()
    link.symlink_to(new)
    assert watcher.get() == 2


@pytest.mark.parametrize("bad", ["nonsense", None])
def test_a_failed_load_keeps_the_last_good_value_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str | None
) -> None:
    path = tmp_path / "number"
    watcher = watch(path, "1")
    path.unlink() if bad is None else path.write_text(bad)
    with caplog.at_level(logging.ERROR):
        assert [watcher.get(), watcher.get()] == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        f"changed but not reloaded: {path} holds no number"
    ]
    path.write_text("30")
    assert watcher.get() == 30


def test_files_are_checked_no_more_often_than_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    watcher = FileWatcher([path], lambda: number_in(path), interval=3600)
    path.write_text("20")
    assert watcher.get() == 1


def test_the_first_load_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(StartupError):
        watch(tmp_path / "number", "nonsense")
