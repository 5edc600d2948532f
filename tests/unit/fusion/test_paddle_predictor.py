from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, signal, warnings
warnings.simplefilter("error")
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
{logs}
before = logging.getLogger().level, list(logging.getLogger().handlers)
from fusion.paddle_predictor import import_paddle
paddle = import_paddle()
root = logging.getLogger()
assert (root.level, root.handlers) == before
os.kill(os.getpid(), signal.SIGTERM)
print(paddle.to_tensor([1.0, 2.0]).sum().item())
"""


@pytest.mark.parametrize("logs", ["", "logging.basicConfig(level='ERROR')"])
def test_importing_paddle_leaves_logs_warnings_and_signals_as_they_were(logs: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(logs=logs)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["handled", "3.0"]
    assert not done.stderr
