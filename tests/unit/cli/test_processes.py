from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marquee_cli.processes import Ports, Service

SLEEPER = """
import os, pathlib, signal, sys, time
print("about to sleep", flush=True)
pathlib.Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
time.sleep(120)
"""

PARENT = """
import os, pathlib, time
from marquee_cli.processes import Service
service = Service("sleeper", "sleeper", "127.0.0.1", 1)
service.start(dict(os.environ))
time.sleep(120)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    return {**os.environ, "PYTHONPATH": str(tmp_path), "PID_FILE": str(tmp_path / "pid")}


def pid_from(path: Path) -> int:
    deadline = time.monotonic() + 30
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_free_ports_differ_and_given_ones_stay() -> None:
    ports = Ports(gateway=0, embedder=50051, search=0).resolved("127.0.0.1")
    assert ports.embedder == 50051
    assert len({ports.gateway, ports.embedder, ports.search}) == 3
    assert 0 not in (ports.gateway, ports.search)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a feature of Linux")
def test_a_service_does_not_outlive_a_parent_that_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], env=environment) as parent:
        child = pid_from(tmp_path / "pid")
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline, "the child is an orphan"
        time.sleep(0.02)


def test_the_obituary_says_how_a_service_ended_and_its_last_words(
    environment: dict[str, str], tmp_path: Path
) -> None:
    service = Service("sleeper", "sleeper", "127.0.0.1", 1)
    service.start(environment, log=tmp_path / "log" / "sleeper.log")
    pid_from(tmp_path / "pid")
    assert service.status is None
    service.signal(signal.SIGTERM)
    service.wait(10)
    assert service.obituary() == "the sleeper ended by signal 15: about to sleep"


def test_a_service_that_does_not_stop_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    service = Service("sleeper", "sleeper", "127.0.0.1", 1)
    service.start(environment)
    pid_from(tmp_path / "pid")
    service.wait(0.1)
    assert service.status == -signal.SIGKILL
