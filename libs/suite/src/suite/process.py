"""A child process: started, watched and stopped. It never outlives the process that started it."""

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
"""Longest that a process may take to be ready; importing Paddle takes most of it."""
STOP_SECONDS = 30.0
"""Longest that a process may take to finish what it does before it is killed."""
PAUSE_SECONDS = 0.05
"""Between two looks at a process."""


class ProcessError(Exception):
    """A process did not start or ended by itself; the message is one line: which, and why."""


class ChildProcess:
    """A program that runs as a child of this process, in a session of its own.

    A terminal's Ctrl-C is therefore for this process alone, which stops its children in order.
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
            name: What people call it.
            command: Program and arguments.
            parent_death_signal: What it gets when this process dies.
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
        """Start the process; where it has ended it may be started again.

        Args:
            environment: All its environment variables. None: this process's.
            log: File that takes what it writes. None: it writes to this process's stderr.
            stdout: File that takes what it writes to stdout instead.

        Raises:
            RuntimeError: This is not the main thread.
        """
        command = with_parent_death_signal(self._command, self._parent_death_signal)
        with ExitStack() as files:

            def opened(path: Path) -> IO[bytes]:
                path.parent.mkdir(parents=True, exist_ok=True)
                return files.enter_context(path.open("wb"))

            # This process's own stdout is for what it has to say itself.
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
        """Process id of the one that was started last."""
        return self._started().pid

    @property
    def status(self) -> int | None:
        """Exit code, negative for the signal that ended it; None while it runs or never ran."""
        return self._process.poll() if self._process else None

    def send_signal(self, signum: signal.Signals) -> None:
        """Send it a signal if it runs."""
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
        """Wait for its end, and kill it and all of its session where that takes longer."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end by SIGTERM, and kill it where it has not after so many seconds."""
        self.send_signal(signal.SIGTERM)
        self.wait_or_kill(seconds)

    def kill(self) -> None:
        """End it at once, and with it the children that it has left in its session."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nobody is left to end
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait_until(
        self,
        condition: Callable[[], bool],
        seconds: float = START_SECONDS,
        *,
        beside: Iterable[ChildProcess] = (),
    ) -> None:
        """Wait until a condition holds that the process is to bring about.

        Args:
            condition: Asked again and again.
            seconds: Longest that it may take.
            beside: Other processes that must not end meanwhile either.

        Raises:
            ProcessError: A process ended, or it took too long.
            Interrupted: This process is to stop; see `suite.interruption`.
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
        """Return one line that says how it ended, with the last line of its log."""
        status = self.status
        how = f"with status {status}" if status is None or status >= 0 else f"by signal {-status}"
        lines = self._log.read_text(errors="replace").split("\n") if self._log else []
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"the {self.name} ended {how}{f': {last}' if last else ''}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self} has not been started")
        return self._process
