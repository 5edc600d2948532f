"""Runs a command that ends when this process does, however it does: `Popen(tethered(command))`.

Linux lets a process ask for a signal at its parent's end, and remembers that when the process
becomes another program: `python -m rpckit.tethered PARENT SIGNAL COMMAND...` asks, then becomes
the command. A `preexec_fn` that asks would need a true fork of this process, in which gRPC's
handlers run without gRPC's threads and now and then end in SIGSEGV. Without one Python uses vfork,
and no handlers run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

_SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def tethered(command: Sequence[str], end_by: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return what to start in place of a command, so that it gets a signal when this process ends.

    Its process id is the command's own. Elsewhere than on Linux a parent that is killed leaves its
    children running, and the command is returned as it is.

    Args:
        command: Program and arguments.
        end_by: The signal.

    Raises:
        RuntimeError: This is not the main thread, and Linux takes the end of the thread that
            started a process for that of its parent.
    """
    if sys.platform != "linux":
        return list(command)
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("tethered commands are started from the main thread")
    return [sys.executable, "-m", "rpckit.tethered", str(os.getpid()), str(int(end_by)), *command]


def main(argv: Sequence[str]) -> NoReturn:
    """Become the command, or exit where that cannot be."""
    parent, end_by, *command = argv
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(end_by))
    if os.getppid() != int(parent):  # it ended before it could be watched
        sys.exit(1)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; a new program would inherit it
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
