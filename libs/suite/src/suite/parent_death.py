"""Run a command that ends when its parent ends, even if the parent is killed.

On request Linux sends a process a signal when its parent dies, also after an exec.
`parent_death.py PARENT SIGNAL COMMAND...` makes that request, restores the default signal handling,
and executes the command. A `preexec_fn` would need a real fork of this process, in which gRPC's
fork handlers sometimes crash. Without one, Python uses vfork, and no handlers run.
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
    """Return a command that runs another and gets a signal when this process dies.

    The process id is that of the wrapped command. Its signals have their default handling even if
    this process ignores them, as a shell's background jobs ignore SIGINT. Only SIGHUP stays
    ignored, for `nohup`.

    On other systems than Linux, children outlive a parent that is killed.

    Args:
        command: Program and arguments.
        parent_death_signal: Signal that the command gets.

    Raises:
        RuntimeError: This is not the main thread; Linux sends the signal when the thread that
            started the process ends.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a command with a parent-death signal is started from the main thread")
    # Isolated and without site-packages: it needs only the standard library, and starts faster.
    wrapper = [sys.executable, "-I", "-S", __file__]
    return [*wrapper, str(os.getpid()), str(int(parent_death_signal)), *command]


def main(argv: Sequence[str]) -> NoReturn:
    """Execute the command, or exit with an error."""
    parent, parent_death_signal, *command = argv
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(parent_death_signal))
    if os.getppid() != int(parent):  # the parent has already died
        sys.exit(1)
    _restore_default_signals()
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


def _restore_default_signals() -> None:
    """Restore the default handling of ignored and blocked signals, but keep SIGHUP."""
    for signum in signal.valid_signals() - {signal.SIGHUP}:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    main(sys.argv[1:])
