"""Turn signals that stop this process into an exception, so that clean-up runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """The user or the system asked this process to stop."""


_interrupted = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on SIGINT, SIGTERM and SIGHUP, while the block runs.

    SIGHUP stays ignored where it is ignored, as under `nohup`.
    """

    def interrupt(*_: object) -> None:
        _interrupted.set()  # gRPC's destructors swallow whatever is raised while they run
        raise Interrupted

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {signum: signal.signal(signum, interrupt) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        _interrupted.clear()


def raise_if_interrupted() -> None:
    """Raise Interrupted if this process has been asked to stop, even if an exception was lost."""
    if _interrupted.is_set():
        raise Interrupted
