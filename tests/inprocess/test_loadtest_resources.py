"""CPU and memory of real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from loadtest import resources


def test_resources_of_a_process_are_read_with_those_of_its_children() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    before = resources.cpu_seconds([os.getpid()])
    alone = resources.resident_bytes(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert resources.cpu_seconds([child.pid]) >= 0.25
        assert resources.cpu_seconds([os.getpid(), child.pid]) - before >= 0.25
        assert resources.resident_bytes(child.pid) > 2**20
        assert resources.resident_bytes(os.getpid()) > alone + 2**20
        child.communicate(b"\n")
    assert resources.cpu_seconds([child.pid]) == 0


def test_a_tree_is_counted_once_however_often_it_is_named() -> None:
    once = resources.cpu_seconds([os.getpid()])
    assert resources.cpu_seconds([os.getpid()] * 3) < 2 * once
