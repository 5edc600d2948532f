from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rpckit.errors import NotReadyError, StartupError
from rpckit.security import watched_files
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


def test_a_failed_load_is_repeated_at_every_check_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    is_broken = False

    def load() -> int:
        if is_broken:
            raise StartupError("the disk is away")
        return number_in(path)

    watcher = FileWatcher([path], load, interval=0)
    is_broken = True
    path.write_text("20")
    assert [watcher.get(), watcher.get(), watcher.get()] == [1, 1, 1]
    assert watcher.failures == 3
    assert watcher.failing_seconds() > 0
    is_broken = False  # the file stays as it is
    assert watcher.get() == 20
    assert watcher.failing_seconds() == 0


def test_another_reason_of_a_failure_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    reasons: list[str] = []

    def load() -> int:
        if reasons:
            raise StartupError(reasons.pop(0))
        return 1

    watcher = FileWatcher([path], load, interval=0)
    path.write_text("20")
    reasons.extend(("first", "first", "second", "second"))
    with caplog.at_level(logging.ERROR):
        while reasons:
            watcher.get()
    assert [record.getMessage() for record in caplog.records] == [
        "changed but not reloaded: first",
        "changed but not reloaded: second",
    ]


def test_a_value_is_stale_once_its_files_have_failed_for_longer_than_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "number"
    watcher = watch(path, "1")
    path.unlink()
    watcher.check()
    assert not watcher.is_stale()
    monkeypatch.setattr(watched_files, "RELOAD_GRACE_SECONDS", 0)
    assert watcher.is_stale()
    with pytest.raises(NotReadyError, match="number holds no number"):
        watcher.check()
    path.write_text("1")
    watcher.check()
    assert not watcher.is_stale()


def test_new_permissions_alone_are_a_change(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    loads = 0

    def load() -> int:
        nonlocal loads
        loads += 1
        return 1

    watcher = FileWatcher([path], load, interval=0)
    path.chmod(0o640)
    watcher.get()
    assert loads == 2


def test_a_value_that_is_loaded_again_unchanged_stays_the_same_object(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text("1")
    watcher = FileWatcher([path], lambda: [path.read_text()], interval=0)
    value = watcher.get()
    path.unlink()
    path.write_text("1")
    assert watcher.get() is value


def test_a_mounted_secret_of_kubernetes_is_followed_through_its_links(tmp_path: Path) -> None:
    def publish(edition: str, text: str) -> None:
        (tmp_path / edition).mkdir()
        (tmp_path / edition / "number").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(edition)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    publish("..first", "1")
    path = tmp_path / "number"
    path.symlink_to(Path("..data") / "number")
    watcher = FileWatcher([path], lambda: number_in(path), interval=0)
    publish("..second", "2")
    assert watcher.get() == 2
    assert watcher.failures == 0


def test_files_are_checked_no_more_often_than_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    watcher = FileWatcher([path], lambda: number_in(path), interval=3600)
    path.write_text("20")
    assert watcher.get() == 1


def test_the_first_load_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(StartupError):
        watch(tmp_path / "number", "nonsense")
