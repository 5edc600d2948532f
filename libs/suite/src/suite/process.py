"""Start, watch and stop a child process, which never outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from suite.interruption import raise_if_interrupted
from suite.parent_death import with_parent_death_signal

START_SECONDS = 120.0
"""Longest time for a process to become ready; most of it is the import of Paddle."""
STOP_SECONDS = 30.0
"""Longest time for a process to stop before it is killed."""
PAUSE_SECONDS = 0.05
"""Interval between two checks of a process."""


class ProcessError(Exception):
    """A process did not start or ended by itself; the message is one line."""


class ChildProcess:
    """A child process in a session of its own.

    So a terminal's Ctrl-C reaches only this process, which stops its children in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        parent_death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Describe a process; nothing runs yet.

        Args:
            name: Name in messages and logs.
            command: Program and arguments.
            parent_death_signal: Signal that it gets when this process dies.
        """
        self.name = name
        self._command = command
        self._parent_death_signal = parent_death_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def __str__(self) -> str:
        return f"the {self.name}"

    def start(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        log: Path | None = None,
        stdout: Path | None = None,
    ) -> None:
        """Start the process; it can be started again after it has ended.

        Args:
            environment: All its environment variables. None: this process's.
            log: File for its output. None: this process's stderr.
            stdout: File for its stdout instead.

        Raises:
            RuntimeError: This is not the main thread.
        """
        command = with_parent_death_signal(self._command, self._parent_death_signal)
        with ExitStack() as files:

            def opened(path: Path) -> IO[bytes]:
                path.parent.mkdir(parents=True, exist_ok=True)
                return files.enter_context(path.open("wb"))

            # This process's stdout is for its own results.
            errors = opened(log) if log else sys.stderr
            self._log = log
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=opened(stdout) if stdout else errors,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, also after its end."""
        return self._started().pid

    @property
    def status(self) -> int | None:
        """Exit code, negative for the signal that ended it; None while it runs or never ran."""
        return self._process.poll() if self._process else None

    def send_signal(self, signum: signal.Signals) -> None:
        """Send a signal if it is running."""
        if self._process:
            self._process.send_signal(signum)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return its exit code.

        Raises:
            ProcessError: It still runs after so many seconds.
        """
        try:
            return self._started().wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self} still runs after {seconds:.0f} s") from None

    def wait_or_kill(self, seconds: float = STOP_SECONDS) -> None:
        """Wait for its end; after so many seconds kill it and its session."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send SIGTERM; kill it if it still runs after so many seconds."""
        self.send_signal(signal.SIGTERM)
        self.wait_or_kill(seconds)

    def kill(self) -> None:
        """Kill it and every other process of its session."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait_until(
        self,
        condition: Callable[[], bool],
        seconds: float = START_SECONDS,
        *,
        beside: Iterable[ChildProcess] = (),
    ) -> None:
        """Wait until a condition holds that the process will bring about.

        Args:
            condition: Checked repeatedly.
            seconds: Longest time to wait.
            beside: Other processes that must not end meanwhile.

        Raises:
            ProcessError: A process ended, or it took too long.
            Interrupted: This process was asked to stop; see `suite.interruption`.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            raise_if_interrupted()
            for process in (self, *beside):
                process.raise_if_ended()
            if time.monotonic() > deadline:
                see = f"; see {self._log}" if self._log else ""
                raise ProcessError(f"{self} is not ready after {seconds:.0f} s{see}")
            time.sleep(PAUSE_SECONDS)

    def raise_if_ended(self) -> None:
        """Raise ProcessError if it has been started and has ended."""
        if self.status is not None:
            raise ProcessError(self.describe_exit())

    def describe_exit(self) -> str:
        """Return one line with its exit status and the last line of its log."""
        status = self.status
        how = f"with status {status}" if status is None or status >= 0 else f"by signal {-status}"
        lines = self._log.read_text(errors="replace").split("\n") if self._log else []
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"the {self.name} ended {how}{f': {last}' if last else ''}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self} has not been started")
        return self._process
