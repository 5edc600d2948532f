"""The towers of a bundle in Paddle Inference, configured here and nowhere else.

The only module of this package that needs Paddle, and only once it is used: install
`marquee-fusion[paddle]` for it.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Literal

from fusion.bundle import Vectors
from fusion.features import Features


def import_paddle() -> ModuleType:
    """Import Paddle and undo what its first import does to the process.

    It warns that a compiler cache is missing, for a compiler that is never used here; it sets the
    root logger to INFO and gives it a handler, so that messages of other libraries are printed; and
    it replaces the handler of SIGTERM with one that prints a C++ stack trace.
    """
    root = logging.getLogger()
    level, handlers, terminate = root.level, list(root.handlers), signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
        import paddle
    paddle.disable_signal_handler()
    root.setLevel(level)
    root.handlers[:] = handlers
    # None is a handler that was not set from Python; only the main thread may set one.
    if terminate is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    return paddle  # type: ignore[no-any-return]  # it ships no types


class TowerPredictor:
    """One tower of a bundle; not thread-safe, so each thread needs its own.

    Args:
        folder: The bundle, or any folder that holds `NAME.json` and `NAME.pdiparams`.
        name: The tower.

    Raises:
        RuntimeError, ValueError, OSError: Paddle cannot load the tower.
    """

    def __init__(self, folder: Path, name: Literal["user", "movie"]) -> None:
        paddle = import_paddle()
        # Tensors stay until the next run takes their place: freeing them is work for another
        # thread, and waking that costs as much as a user's run.
        paddle.set_flags({"FLAGS_eager_delete_tensor_gb": -1.0})
        config = paddle.inference.Config(
            str(folder / f"{name}.json"), str(folder / f"{name}.pdiparams")
        )
        config.disable_gpu()
        config.disable_glog_info()
        # More threads make towers of this size slower.
        config.set_cpu_math_library_num_threads(1)
        # oneDNN prepares every operation anew in each run, which costs towers of this size more
        # than the work: 0.25 ms for one user instead of 0.07, and as much again for batches.
        config.disable_mkldnn()
        self._predictor = paddle.inference.create_predictor(config)
        self._inputs = {
            name: self._predictor.get_input_handle(name)
            for name in self._predictor.get_input_names()
        }
        (output,) = self._predictor.get_output_names()
        self._output = self._predictor.get_output_handle(output)

    def run(self, features: Features) -> Vectors:
        """Embed a batch.

        Args:
            features: Inputs of the tower, from `FeatureEncoder`, at least one row.

        Returns:
            float32 [n, dimension], each row of length 1.
        """
        for name, handle in self._inputs.items():
            handle.copy_from_cpu(features[name])
        self._predictor.run()
        vectors: Vectors = self._output.copy_to_cpu()
        return vectors
