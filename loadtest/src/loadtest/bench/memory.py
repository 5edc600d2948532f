"""Measure how memory grows with the number of calls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from loadtest import clients, resources
from loadtest.job import Job
from loadtest.load import ClosedLoop
from loadtest.workload import Workload
from rpckit.settings.client import ClientSettings

_SLICE_SECONDS = 10.0
_CALLERS = 64
_SETTLING = 0.25
"""Share of the calls after which allocators and caches have settled."""


def slopes(
    endpoint: ClientSettings, workload: Workload, pids: Mapping[str, int], calls: int
) -> dict[str, float]:
    """Make Recommend calls and return the memory growth of each process.

    Args:
        endpoint: Client settings of the gateway.
        workload: Source of the requests.
        pids: Processes by name.
        calls: Minimum number of calls.

    Returns:
        Mebibytes per 100,000 calls, by name: the slope of a straight line through the resident
        memory after the first quarter of the calls.

    Raises:
        LoadError: The gateway cannot be reached.
    """
    done = 0
    samples: dict[str, list[tuple[int, float]]] = {name: [] for name in pids}
    while done < calls:
        job = Job(
            {"Recommend": endpoint},
            workload,
            ClosedLoop(_CALLERS),
            _SLICE_SECONDS,
            warm_up=0.0,
            seed=done,
        )
        done += max(1, clients.measure(job, name="memory").calls)
        for name, pid in pids.items():
            samples[name].append((done, resources.resident_bytes(pid) / 2**20))
    return {name: slope(each, _SETTLING * calls) for name, each in samples.items()}


def slope(samples: list[tuple[int, float]], settled: float) -> float:
    """Return mebibytes per 100,000 calls of the samples after `settled` calls; 0 if under two."""
    kept = [each for each in samples if each[0] >= settled]
    if len(kept) < 2:
        return 0.0
    calls, memory = np.array(kept).T
    return round(float(np.polyfit(calls / 100_000, memory, 1)[0]), 3)
