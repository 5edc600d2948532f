"""Exported towers, run by Paddle Inference: what a service would answer, without the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from paddle import inference

from fusion.features import FeatureEncoder, Features
from fusion.records import Movie, User
from training.evaluate import Vectors

_ROWS = 1024
"""Records that are embedded at once, so that the intermediate values stay small."""


class Towers:
    """Both towers of a bundle's folder.

    Args:
        folder: Holds `user.json`, `user.pdiparams`, `movie.json` and `movie.pdiparams`.
        encoder: Of the bundle.
        threads: Of the math library.
    """

    def __init__(self, folder: Path, encoder: FeatureEncoder, threads: int = 1) -> None:
        self._encoder = encoder
        self._user = _predictor(folder, "user", threads)
        self._movie = _predictor(folder, "movie", threads)

    def users(self, users: Sequence[User]) -> Vectors:
        """Vectors of users, one at least: float32 [n, dimension].

        Raises:
            RecordError: A record holds a value without meaning.
        """
        parts = range(0, len(users), _ROWS)
        encode = self._encoder.users
        return np.concatenate(
            [_run(self._user, encode(users[i : i + _ROWS]).features) for i in parts]
        )

    def movies(self, movies: Sequence[Movie]) -> Vectors:
        """Vectors of movies, one at least: float32 [n, dimension].

        Raises:
            RecordError: A record holds a value without meaning.
        """
        parts = range(0, len(movies), _ROWS)
        encode = self._encoder.movies
        return np.concatenate(
            [_run(self._movie, encode(movies[i : i + _ROWS]).features) for i in parts]
        )


def _predictor(folder: Path, name: str, threads: int) -> inference.Predictor:
    config = inference.Config(str(folder / f"{name}.json"), str(folder / f"{name}.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    return inference.create_predictor(config)


def _run(predictor: inference.Predictor, features: Features) -> Vectors:
    for name, values in features.items():
        predictor.get_input_handle(name).copy_from_cpu(values)
    predictor.run()
    (output,) = predictor.get_output_names()
    return np.asarray(predictor.get_output_handle(output).copy_to_cpu())
