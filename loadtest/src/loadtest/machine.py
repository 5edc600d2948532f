"""Description of the machine that was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_SHOWN = (
    "grpcio",
    "uvloop",
    "protobuf",
    "numpy",
    "paddlepaddle",
    "pymilvus",
    "milvus-lite",
    "pyvoy",
)


def describe() -> dict[str, str]:
    """Return processor, memory, system and the relevant versions, as text."""
    facts = {
        "processor": _processor(),
        "cpus": str(_cpus()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    for name in _SHOWN:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def load_average() -> float:
    """Return the load average of the last minute."""
    return psutil.getloadavg()[0]


def _cpus() -> int | None:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
