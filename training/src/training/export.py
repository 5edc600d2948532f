"""Exports a trained model as the bundle that is served."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path

import paddle
from paddle import Tensor, nn
from paddle.nn import functional
from paddle.static import InputSpec

from fusion.bundle import Golden, write_bundle
from fusion.features import FeatureEncoder
from fusion.manifest import Description, Manifest
from fusion.records import Movie, User
from training.model import SCORE_SCALE, FusionModel, MovieTower, UserTower, convolved_title, unit
from training.movielens import Dataset
from training.towers import Towers
from training.train import Result

_GOLDEN_RECORDS = 16


def export(
    result: Result, dataset: Dataset, path: Path, evaluation: Mapping[str, float]
) -> Manifest:
    """Write the bundle of a trained model.

    Args:
        result: Result of the training run.
        dataset: The data that the model was trained on; golden records are taken from it.
        path: Folder to write; an existing bundle is replaced.
        evaluation: Figures for the manifest.

    Raises:
        BundleError: `path` exists and is not a bundle.
    """
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        export_towers(result.model, result.encoder, models)
        users, movies = golden_records(dataset)
        towers = Towers(models, result.encoder)
        golden = Golden(users, movies, towers.users(users), towers.movies(movies))
        return write_bundle(
            path,
            description=Description(
                name=f"fusion-{result.config.objective}",
                objective=result.config.objective,
                dimension=result.config.dimension,
                score_scale=SCORE_SCALE,
                paddle_version=paddle.__version__,
                data_fingerprint=dataset.fingerprint,
                evaluation=dict(evaluation),
            ),
            encoder=result.encoder,
            models=models,
            golden=golden,
        )


def export_towers(model: FusionModel, encoder: FeatureEncoder, folder: Path) -> None:
    """Write both towers as Paddle inference models: `user.*` and `movie.*`."""

    def index(name: str) -> InputSpec:
        return InputSpec([None], "int64", name)

    known = encoder.vocabularies
    towers = {
        "user": (_ServedUsers(model.user), ("user_id", "gender", "age", "occupation"), []),
        "movie": (
            _ServedMovies(model.movie),
            ("movie_id",),
            [
                InputSpec([None, len(known.genre)], "float32", "genres"),
                InputSpec([None, encoder.title_length], "int64", "title"),
            ],
        ),
    }
    for name, (tower, indices, others) in towers.items():
        tower.eval()
        paddle.jit.save(tower, str(folder / name), input_spec=[*map(index, indices), *others])


def golden_records(dataset: Dataset) -> tuple[tuple[User, ...], tuple[Movie, ...]]:
    """Return records from all over the data set, with every combination of unknown attributes."""
    users, movies = [], []
    for number, (i, g, a, o) in enumerate(itertools.product((True, False), repeat=4)):
        user = dataset.users[number * len(dataset.users) // _GOLDEN_RECORDS]
        users.append(
            User(
                user.user_id if i else None,
                user.gender if g else None,
                user.age if a else None,
                user.occupation if o else None,
            )
        )
    for number, (i, t, g) in enumerate(itertools.product((True, False), repeat=3)):
        movie = dataset.movies[number * len(dataset.movies) // 8]
        movies.append(
            movie._replace(
                movie_id=movie.movie_id if i else None,
                title=movie.title if t else "",
                genres=movie.genres if g else (),
            )
        )
    return tuple(users), tuple(movies)


class _Served(nn.Layer):
    """A tower whose tables are already multiplied by their fully connected layers.

    It gives the vectors of the trained tower; what remains for a request is to look up rows, add
    them and normalise the sum.
    """

    def keep(self, value: Tensor) -> Tensor:
        return self.create_parameter(
            value.shape, default_initializer=nn.initializer.Assign(value.detach())
        )


class _ServedUsers(_Served):
    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        # The bias goes into one of the tables: each user has exactly one gender, possibly unknown.
        self.user_id = self.keep(tower.user_id.folded())
        self.gender = self.keep(tower.gender.folded() + tower.bias)
        self.age = self.keep(tower.age.folded())
        self.occupation = self.keep(tower.occupation.folded())

    def forward(self, user_id: Tensor, gender: Tensor, age: Tensor, occupation: Tensor) -> Tensor:
        total = functional.embedding(user_id, self.user_id)
        total = total + functional.embedding(gender, self.gender)
        total = total + functional.embedding(age, self.age)
        return unit(functional.tanh(total + functional.embedding(occupation, self.occupation)))


class _ServedMovies(_Served):
    def __init__(self, tower: MovieTower) -> None:
        super().__init__()
        title = tower.title
        self.movie_id = self.keep(tower.movie_id.folded() + tower.bias)
        self.genres = self.keep(tower.genres.weight)
        self.words = self.keep(paddle.matmul(title.table, title.filters))
        self.filter_bias = self.keep(title.filter_bias)
        self.title = self.keep(title.weight)

    def forward(self, movie_id: Tensor, genres: Tensor, title: Tensor) -> Tensor:
        content = paddle.matmul(genres, self.genres)
        content = content + convolved_title(title, self.words, self.filter_bias, self.title)
        return unit(functional.tanh(functional.embedding(movie_id, self.movie_id) + content))
