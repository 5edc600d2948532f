"""CPU and memory of other processes on this machine, each with its descendants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU that processes and their descendants have used, user and system."""
    trees = {process for pid in pids for process in _tree(pid)}
    total = 0.0
    for process in trees:
        with suppress(psutil.NoSuchProcess):  # it has ended
            times = process.cpu_times()
            total += times.user + times.system
    return total


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants, in bytes."""
    total = 0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def listener(port: int) -> int | None:
    """Return the process that listens on a TCP port, or None."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            return connection.pid  # None where it is another user's
    return None


def _tree(pid: int) -> Iterator[psutil.Process]:
    """Yield a process and all its descendants; with pyvoy, for example, children do the work."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)
