"""CPU and memory of other processes on this machine, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants; those of pyvoy, for one, do the work."""
    yield pid
    children: set[str] = set()
    for thread in (_PROC / str(pid) / "task").glob("*"):
        try:
            children.update((thread / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
    for child in children:
        yield from tree(int(child))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU that processes and their descendants have used, user and system."""
    total = 0
    for pid in {each for root in pids for each in tree(root)}:
        fields = _stat(pid)
        if fields:
            total += int(fields[11]) + int(fields[12])
    return total * _TICK


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants, in bytes."""
    total = 0
    for each in tree(pid):
        try:
            total += int((_PROC / str(each) / "statm").read_text().split()[1]) * _PAGE
        except OSError:
            continue
    return total


def listener(port: int) -> int | None:
    """Return the process of this user that listens on a TCP port, or None where it is not seen."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for descriptor in _PROC.glob("[0-9]*/fd/*"):
        try:
            if inodes and str(descriptor.readlink()) in inodes:
                return int(descriptor.parts[2])
        except OSError:
            continue
    return None


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before it may hold anything
