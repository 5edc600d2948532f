"""The towers of a bundle in Paddle Inference; nothing else in this service imports paddle."""

from __future__ import annotations

import warnings
from typing import Literal

from fusion.bundle import Bundle, BundleError, Vectors
from fusion.features import Features
from rpckit.errors import NotReadyError, StartupError

with warnings.catch_warnings():
    # Of a compiler cache, for a compiler that is never used here.
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    from paddle import disable_signal_handler, inference, set_flags

TowerName = Literal["user", "movie"]
TOWER_NAMES: tuple[TowerName, ...] = ("user", "movie")


class PaddleEncoder:
    """Runs both towers, in the thread that made it and in no other.

    A Paddle predictor is not thread-safe, and more math threads make a model of this size slower.
    Nor would a thread of its own help: Paddle keeps Python's interpreter lock while a predictor
    runs, so that nothing else goes on meanwhile, and two changes of threads would come on top.
    More load wants more replicas.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Load both towers and see that the golden vectors come out of them.

        Raises:
            StartupError: Paddle cannot load a tower, or a golden vector differs.
        """
        self.bundle = bundle
        try:
            disable_signal_handler()  # it answers SIGTERM with a trace of C++
            # Tensors stay until the next run takes their place: freeing them is work for another
            # thread, whose waking costs as much as a user's run.
            set_flags({"FLAGS_eager_delete_tensor_gb": -1.0})
            self._towers = {name: _Tower(bundle, name) for name in TOWER_NAMES}
            self._verify()
        except (BundleError, RuntimeError, ValueError, OSError) as error:
            raise StartupError(f"the bundle {bundle.path} cannot be served: {error}") from error

    def embed(self, tower: TowerName, features: Features) -> Vectors:
        """Embed a batch.

        Args:
            tower: Which one.
            features: Its inputs, from `FeatureEncoder`, at least one row.

        Returns:
            float32 [n, dimension], each row of length 1.
        """
        return self._towers[tower].run(features)

    async def check(self) -> None:
        """See that the golden vectors still come out of the live predictors.

        Raises:
            NotReadyError: One does not.
        """
        try:
            self._verify()
        except BundleError as error:
            raise NotReadyError(str(error)) from error

    def _verify(self) -> None:
        encoder = self.bundle.encoder
        self.bundle.verify_golden(
            lambda users: self.embed("user", encoder.users(users).features),
            lambda movies: self.embed("movie", encoder.movies(movies).features),
        )


class _Tower:
    """One predictor; used by one thread only."""

    def __init__(self, bundle: Bundle, name: TowerName) -> None:
        program, parameters = bundle.tower(name)
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

    def run(self, features: Features) -> Vectors:
        for name, handle in self._inputs.items():
            handle.copy_from_cpu(features[name])
        self._predictor.run()
        vectors: Vectors = self._output.copy_to_cpu()
        return vectors
