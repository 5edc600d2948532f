"""The towers of a bundle in Paddle Inference; nothing else in this service imports paddle."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np

from fusion.bundle import Bundle, BundleError, Vectors
from fusion.features import Features
from fusion.records import Movie, User
from rpckit.errors import NotReadyError, StartupError

with warnings.catch_warnings():
    # Of a compiler cache, for a compiler that is never used here.
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    from paddle import disable_signal_handler, inference

Kind = Literal["user", "movie"]
KINDS: tuple[Kind, ...] = ("user", "movie")


class Embedded(NamedTuple):
    """What a tower answers to a batch."""

    vectors: Vectors
    """float32 [n, dimension], each row of length 1."""
    seconds: float
    """Time inside the predictor."""


class PaddleEncoder:
    """Runs both towers in one thread of their own.

    A Paddle predictor is not thread-safe, and more math threads make a model of this size slower;
    more load wants more replicas.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Load both towers and see that the golden vectors come out of them.

        Raises:
            StartupError: Paddle cannot load a tower, or a golden vector differs.
        """
        self.bundle = bundle
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="paddle")
        try:
            self._thread.submit(self._load).result()
        except (BundleError, RuntimeError, ValueError, OSError) as error:
            self._thread.shutdown()
            raise StartupError(f"the bundle {bundle.path} cannot be served: {error}") from error

    async def embed(self, kind: Kind, features: Features) -> Embedded:
        """Embed a batch.

        Args:
            kind: Which tower.
            features: Its inputs, from `FeatureEncoder`, at least one row.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._towers[kind].run, features)

    async def check(self) -> None:
        """See that the golden vectors still come out of the live predictors.

        Raises:
            NotReadyError: One does not.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._verify)
        except BundleError as error:
            raise NotReadyError(str(error)) from error

    def close(self) -> None:
        """Let the batch under way end, and free the thread."""
        self._thread.shutdown()

    def _load(self) -> None:
        disable_signal_handler()  # it answers SIGTERM with a trace of C++
        self._towers = {kind: _Tower(self.bundle, kind) for kind in KINDS}
        self._verify()

    def _verify(self) -> None:
        encoder = self.bundle.encoder

        def users(records: Sequence[User]) -> Vectors:
            return self._towers["user"].run(encoder.users(records).features).vectors

        def movies(records: Sequence[Movie]) -> Vectors:
            return self._towers["movie"].run(encoder.movies(records).features).vectors

        self.bundle.verify_golden(users, movies)


class _Tower:
    """One predictor; used by one thread only."""

    def __init__(self, bundle: Bundle, kind: Kind) -> None:
        program, parameters = bundle.tower(kind)
        config = inference.Config(str(program), str(parameters))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(1)
        # oneDNN prepares every operation anew in each run, which costs towers of this size more
        # than the work: 0.25 ms for one user where 0.07 do, and as much again for batches.
        config.disable_mkldnn()
        self._predictor = inference.create_predictor(config)
        self._inputs = {
            name: self._predictor.get_input_handle(name)
            for name in self._predictor.get_input_names()
        }
        (output,) = self._predictor.get_output_names()
        self._output = self._predictor.get_output_handle(output)

    def run(self, features: Features) -> Embedded:
        started = time.perf_counter()
        for name, handle in self._inputs.items():
            handle.copy_from_cpu(features[name])
        self._predictor.run()
        vectors = self._output.copy_to_cpu()
        return Embedded(vectors, time.perf_counter() - started)


def stack(batch: Sequence[Features]) -> Features:
    """Put several batches of features under each other, in order."""
    if len(batch) == 1:
        return batch[0]
    return {name: np.concatenate([features[name] for features in batch]) for name in batch[0]}
