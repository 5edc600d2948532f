"""Makes Paddle use the machine well. It reads its environment once, so this comes before it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

PROCESSES = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
"""Processes of this run, as `paddle.distributed.launch` tells each of them."""

# Those on this machine; a launcher that knows of no other machines does not tell.
_LOCAL_PROCESSES = int(os.environ.get("PADDLE_LOCAL_SIZE", PROCESSES))


def prepare(threads: int | None = None) -> None:
    """Sets up what Paddle reads when it is first imported; variables that are set already stay.

    Args:
        threads: Of the math library; by default all CPUs, shared by the processes of a run here.
    """
    os.environ.setdefault(
        "FLAGS_paddle_num_threads", str(threads or max(1, CPUS // _LOCAL_PROCESSES))
    )
    # Paddle's MKL takes its slowest path on processors that are not Intel's, unless it is told
    # that AVX2 is there: twice the speed of a matrix product on an AMD EPYC.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        if "AuthenticAMD" in text and "avx2" in text:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    # Of a compiler cache, for a compiler that is never used here.
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
