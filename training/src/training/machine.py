"""Paddle, set up for the machine that trains."""

from __future__ import annotations

import os
from pathlib import Path

from fusion.paddle_predictor import import_paddle


def cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes() -> int:
    """Return how many processes train the model, as `paddle.distributed.launch` tells each."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def prepare(threads: int | None = None) -> None:
    """Import Paddle with settings that suit this machine; those in the environment take precedence.

    Paddle reads its settings when it is first imported, so call this before importing any module
    that imports Paddle.

    Args:
        threads: Threads of the math library. None: one for each CPU, shared among the processes
            of a run on this machine.
    """
    # The launcher leaves this out where it knows of no other machine.
    here = int(os.environ.get("PADDLE_LOCAL_SIZE", processes()))
    os.environ.setdefault("FLAGS_paddle_num_threads", str(threads or max(1, cpus() // here)))
    # Every export would otherwise print that "static graph(PIR) not support input out tensor":
    # Paddle's `+` passes itself an argument that it then ignores. Errors are still printed.
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle's MKL takes its slowest path on processors that are not Intel's, unless it is told
    # that AVX2 is there: twice the speed of a matrix product on an AMD EPYC.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        if "AuthenticAMD" in text and "avx2" in text:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    import_paddle()
