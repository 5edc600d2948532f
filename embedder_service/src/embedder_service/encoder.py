"""Both towers of a bundle, verified; nothing else in this service runs Paddle."""

from __future__ import annotations

from typing import Literal

from fusion.bundle import Bundle, BundleError, Vectors
from fusion.features import Features
from fusion.paddle_predictor import TowerPredictor
from rpckit.errors import NotReadyError, StartupError

TowerName = Literal["user", "movie"]
TOWER_NAMES: tuple[TowerName, ...] = ("user", "movie")


class PaddleEncoder:
    """Runs both towers, in the thread that made it and in no other.

    A Paddle predictor is not thread-safe. A thread of its own would not help: Paddle holds Python's
    interpreter lock while a predictor runs, so nothing else runs meanwhile, and two thread switches
    would be added. For more load, run more replicas.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Load both towers and check that they give the golden vectors.

        Raises:
            StartupError: Paddle cannot load a tower, or a golden vector differs.
        """
        self.bundle = bundle
        try:
            self._towers = {name: TowerPredictor(bundle.path, name) for name in TOWER_NAMES}
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
        """Check that the live predictors still give the golden vectors.

        Raises:
            NotReadyError: A vector differs.
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
