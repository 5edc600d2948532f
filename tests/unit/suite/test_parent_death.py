from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from suite.parent_death import with_parent_death_signal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a feature of Linux")

START = """
import signal, subprocess, sys, time
from suite.parent_death import with_parent_death_signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
{before}
command = with_parent_death_signal(sys.argv[2:], signal.Signals(int(sys.argv[1])))
child = subprocess.Popen(command)
{after}
"""
"""A parent of `argv[2:]`, which gets the signal `argv[1]` at its death."""

SIGNALS = ["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def not_default(signals: str) -> dict[str, set[int]]:
    """Return the signals by what they are, ignored or blocked, from lines of /proc/PID/status.

    Without those that glibc keeps for itself, 32 and 33: no program can change their handling.
    """
    masks = dict(line.split(":\t") for line in signals.splitlines())
    return {
        name: {number for number in signal.valid_signals() if int(mask, 16) >> (number - 1) & 1}
        for name, mask in masks.items()
    }


def test_the_command_has_the_process_that_was_started() -> None:
    with subprocess.Popen(
        with_parent_death_signal(["sh", "-c", "echo $$; exit 7"]), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.communicate(timeout=30)[0] == f"{process.pid}\n"
    assert process.returncode == 7


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ignored", [False, True], ids=["", "ignored by the parent"])
def test_the_command_gets_the_signal_when_its_parent_is_killed(
    signum: signal.Signals, ignored: bool, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    command = (
        f"trap 'echo {int(signum)} > {words}; exit' {int(signum)};"
        "echo up; for _ in $(seq 200); do sleep .1; done"
    )
    parent = START.format(
        before=f"signal.signal({int(signum)}, signal.SIG_IGN)" if ignored else "",
        after="time.sleep(60)",
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, str(int(signum)), "sh", "-c", command],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert process.stdout.read() == ""  # until the command has closed it, too
    assert words.read_text() == f"{int(signum)}\n"


def test_the_command_ignores_and_blocks_nothing_that_its_parent_does() -> None:
    ignored = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE}
    before = (
        f"for each in {sorted(map(int, ignored))}: signal.signal(each, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])"
    )
    code = START.format(before=before, after="child.wait()")
    done = run([sys.executable, "-c", code, "15", *SIGNALS])
    assert not_default(done.stdout) == {"SigIgn": set(), "SigBlk": set()}


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code = START.format(before=before, after="child.wait()")
    done = run([sys.executable, "-c", code, "15", *SIGNALS])
    assert not_default(done.stdout)["SigIgn"] == {signal.SIGHUP}


def test_a_command_whose_parent_is_gone_already_does_not_run() -> None:
    command = with_parent_death_signal(["echo", "I run"])
    command[command.index(str(os.getpid()))] = "1"
    done = run(command)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_command_that_cannot_be_run_is_one_line() -> None:
    done = run(with_parent_death_signal(["/no/such/program"]))
    assert done.returncode == 1
    assert done.stderr == "cannot run /no/such/program: No such file or directory\n"


def test_a_module_of_the_working_folder_is_not_taken_for_one_of_pythons(tmp_path: Path) -> None:
    (tmp_path / "ctypes.py").write_text("raise SystemExit('the wrong ctypes')")
    done = subprocess.run(
        with_parent_death_signal(["echo", "I run"]),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "I run\n", done.stderr


def test_only_the_main_thread_starts_such_commands() -> None:
    refused: list[str] = []

    def start() -> None:
        try:
            with_parent_death_signal(["true"])
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(10)
    assert refused == ["a command with a parent-death signal is started from the main thread"]
