"""Runs a command that ends when its parent does, however that ends.

Linux sends a process a signal at its parent's death where it has asked for one, and remembers that
when the process becomes another program: `parent_death.py PARENT SIGNAL COMMAND...` asks, gives
signals back their default handling, then becomes the command. A `preexec_fn` that does so would
need a true fork of this process, in which gRPC's handlers run without gRPC's threads and now and
then end in SIGSEGV. Without one Python uses vfork, and no handlers run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def with_parent_death_signal(
    command: Sequence[str], parent_death_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """Return what to start in place of a command, so that it gets a signal when this process dies.

    The process that is started becomes the command: the process id is the command's own. Signals
    have their default handling in it even where this process ignores them, as a shell makes its
    background jobs do with SIGINT; SIGHUP alone stays ignored, for that is what `nohup` is for.

    Elsewhere than on Linux a parent that is killed leaves its children running.

    Args:
        command: Program and arguments.
        parent_death_signal: What the command gets.

    Raises:
        RuntimeError: This is not the main thread, and Linux takes the end of the thread that
            started a process for that of its parent.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a command with a parent-death signal is started from the main thread")
    # Isolated and without site-packages: it needs the standard library alone, and starts faster.
    wrapper = [sys.executable, "-I", "-S", __file__]
    return [*wrapper, str(os.getpid()), str(int(parent_death_signal)), *command]


def main(argv: Sequence[str]) -> NoReturn:
    """Become the command, or exit where that cannot be."""
    parent, parent_death_signal, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(parent_death_signal))
    if os.getppid() != int(parent):  # it died before it could be watched
        sys.exit(1)
    _restore_default_signals()
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


def _restore_default_signals() -> None:
    """Undo what a new program would inherit: from Python, from a shell, or from a parent's mask."""
    for signum in signal.valid_signals() - {signal.SIGHUP}:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main(sys.argv[1:])
