from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rpckit.tethered import tethered

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a feature of Linux")

SIGNALS_IGNORED = ["grep", "SigIgn", "/proc/self/status"]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_command_has_the_process_that_was_started() -> None:
    with subprocess.Popen(
        tethered(["sh", "-c", "echo $$; exit 7"]), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.communicate(timeout=30)[0] == f"{process.pid}\n"
    assert process.returncode == 7


@pytest.mark.parametrize("end_by", [signal.SIGTERM, signal.SIGINT])
def test_the_command_gets_the_signal_when_its_parent_is_killed(
    end_by: signal.Signals, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    command = (
        f"trap 'echo {int(end_by)} > {words}; exit' {int(end_by)};"
        "echo up; for _ in $(seq 200); do sleep .1; done"
    )
    parent = (
        "import subprocess, sys, signal, time; from rpckit.tethered import tethered;"
        f"subprocess.Popen(tethered(sys.argv[1:], signal.Signals({int(end_by)}))); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, "sh", "-c", command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert process.stdout.read() == ""  # until the command has closed it, too
    assert words.read_text() == f"{int(end_by)}\n"


def test_the_command_ignores_no_signal_that_it_would_not_ignore_untethered() -> None:
    assert run(tethered(SIGNALS_IGNORED)).stdout == run(SIGNALS_IGNORED).stdout


def test_a_command_whose_parent_is_gone_already_does_not_run() -> None:
    command = tethered(["echo", "I run"])
    command[command.index(str(os.getpid()))] = "1"
    done = run(command)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_command_that_cannot_be_run_is_one_line() -> None:
    done = run(tethered(["/no/such/program"]))
    assert done.returncode == 1
    assert done.stderr == "cannot run /no/such/program: No such file or directory\n"


def test_only_the_main_thread_tethers() -> None:
    refused: list[str] = []

    def tether() -> None:
        try:
            tethered(["true"])
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=tether)
    thread.start()
    thread.join(10)
    assert refused == ["tethered commands are started from the main thread"]
