"""Exported towers, run by Paddle Inference: what a service would answer, without the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusion.bundle import Vectors
from fusion.features import FeatureEncoder
from fusion.paddle_predictor import TowerPredictor
from fusion.records import Movie, User

_BATCH = 1024
"""Records that are embedded at once, to keep the intermediate values small."""


class Towers:
    """Both towers of a bundle's folder.

    Args:
        folder: Holds `user.json`, `user.pdiparams`, `movie.json` and `movie.pdiparams`.
        encoder: The bundle's.
    """

    def __init__(self, folder: Path, encoder: FeatureEncoder) -> None:
        self._encoder = encoder
        self._user = TowerPredictor(folder, "user")
        self._movie = TowerPredictor(folder, "movie")

    def users(self, users: Sequence[User]) -> Vectors:
        """Return the vectors of one or more users, float32 [n, dimension].

        Raises:
            RecordError: A record holds an invalid value.
        """
        batches = (users[i : i + _BATCH] for i in range(0, len(users), _BATCH))
        return np.concatenate(
            [self._user.run(self._encoder.users(batch).features) for batch in batches]
        )

    def movies(self, movies: Sequence[Movie]) -> Vectors:
        """Return the vectors of one or more movies, float32 [n, dimension].

        Raises:
            RecordError: A record holds an invalid value.
        """
        batches = (movies[i : i + _BATCH] for i in range(0, len(movies), _BATCH))
        return np.concatenate(
            [self._movie.run(self._encoder.movies(batch).features) for batch in batches]
        )
