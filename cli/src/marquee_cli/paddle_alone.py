"""The model without the services: Paddle, one matrix product and nothing else.

The only module of the command that imports paddle.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from fusion.bundle import Bundle, Vectors
from fusion.features import Features
from fusion.records import Movie, User

with warnings.catch_warnings():  # of a missing compiler cache, which inference does not need
    warnings.simplefilter("ignore")
    from paddle import inference

BATCH = 1024
"""Movies that are embedded at once."""


class PaddleAlone:
    """The whole catalogue ranked by the model in this process, without services or Milvus."""

    def __init__(self, bundle: Bundle, catalogue: Sequence[Movie]) -> None:
        """Embed the catalogue.

        Args:
            bundle: The model.
            catalogue: All movies.
        """
        self._bundle = bundle
        self._users = _Tower(bundle, "user")
        movies = _Tower(bundle, "movie")
        self._ids = np.array([movie.movie_id for movie in catalogue], dtype=np.int64)
        self._vectors = np.concatenate(
            [
                movies.vectors(bundle.encoder.movies(catalogue[at : at + BATCH]).features)
                for at in range(0, len(catalogue), BATCH)
            ]
        )

    def scores(self, users: Sequence[User]) -> list[dict[int, float]]:
        """Return the score of every movie for each user, by movie id."""
        vectors = self._users.vectors(self._bundle.encoder.users(users).features)
        table = vectors @ self._vectors.T * self._bundle.manifest.score_scale
        return [dict(zip(self._ids.tolist(), row.tolist(), strict=True)) for row in table]


class _Tower:
    """One exported model, fed by the names of its inputs."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        config = inference.Config(*map(str, bundle.tower(name)))
        config.disable_glog_info()
        self._predictor = inference.create_predictor(config)

    def vectors(self, features: Features) -> Vectors:
        for name in self._predictor.get_input_names():
            self._predictor.get_input_handle(name).copy_from_cpu(features[name])
        self._predictor.run()
        (output,) = self._predictor.get_output_names()
        vectors: Vectors = self._predictor.get_output_handle(output).copy_to_cpu()
        return vectors
