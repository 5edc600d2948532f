"""Envoy and the process that watches over it."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from tests.fixtures.certificates import issue, write_pair
from tests.inprocess.hosts.processes import PuppetProcess


@pytest.fixture
def puppet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PuppetProcess]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = PuppetProcess("envoy", tmp_path / "log")
    try:
        assert started.target
        yield started
    finally:
        started.stop()


@pytest.fixture
def envoy(puppet: PuppetProcess) -> int:
    pid = puppet.pid
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def has_ended(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_death_of_envoy_is_exit_code_1(
    puppet: PuppetProcess, envoy: int, signum: signal.Signals
) -> None:
    os.kill(envoy, signum)
    assert puppet.wait(20) == 1
    assert "Envoy ended with status" in puppet.log


def test_a_process_that_cannot_follow_its_certificates_ends_instead_of_keeping_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    authority = trustme.CA()
    cert, key = write_pair(issue(authority, "puppet.test"), tmp_path, "server")
    puppet = PuppetProcess("envoy", tmp_path / "log", tls_cert=cert, tls_key=key)
    try:
        assert puppet.target
        [run_dir] = tmp_path.glob("puppet-*")
        marker = run_dir / "changed"
        assert within(10, marker.exists)
        marker.unlink()
        marker.mkdir()  # no file can be moved onto it
        write_pair(issue(authority, "puppet.test"), tmp_path, "server")
        assert puppet.wait(20) == 1
        assert "the service cannot run" in puppet.log
        assert "IsADirectoryError" in puppet.log
    finally:
        puppet.stop()


def test_envoy_does_not_outlive_the_supervisor(puppet: PuppetProcess, envoy: int) -> None:
    puppet.kill()
    assert within(20, lambda: has_ended(envoy)), "Envoy goes on alone"


def test_a_second_signal_changes_nothing(puppet: PuppetProcess, envoy: int) -> None:
    puppet.send_signal(signal.SIGINT)
    assert puppet.stop_by(signal.SIGINT) == 0


def test_the_shared_directory_is_closed_to_others_and_gone_after_the_stop(
    puppet: PuppetProcess, tmp_path: Path
) -> None:
    assert tempfile.gettempdir() != str(tmp_path), "else the next line proves nothing"
    [shared] = tmp_path.glob("puppet-*")
    assert shared.stat().st_mode & 0o077 == 0
    assert puppet.stop_by(signal.SIGTERM) == 0
    assert not shared.exists()


def test_a_signal_before_it_listens_stops_it_at_once(tmp_path: Path) -> None:
    puppet = PuppetProcess("envoy", tmp_path / "log", shutdown_delay_s=60)
    try:
        assert within(20, lambda: "envoy" in _command_line_of_the_child(puppet.pid))
        puppet.send_signal(signal.SIGTERM)
        # 0, or by the signal itself where it came before anything could take it
        assert puppet.wait(20) in (0, -signal.SIGTERM)
    finally:
        puppet.stop()


def _command_line_of_the_child(pid: int) -> str:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return "".join(Path(f"/proc/{child}/cmdline").read_text() for child in children)
    except FileNotFoundError:
        return ""
