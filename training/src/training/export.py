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
from training.config import SCORE_SCALES, Config
from training.model import FusionModel, MovieTower, UserTower, convolved_title, unit
from training.movielens import Dataset
from training.towers import Towers

Served = tuple[nn.Layer, nn.Layer]
"""Towers of users and movies that take what `FeatureEncoder` gives."""

_GOLDEN_RECORDS = 16


def export(
    layers: Served,
    config: Config,
    encoder: FeatureEncoder,
    dataset: Dataset,
    path: Path,
    evaluation: Mapping[str, float],
) -> Manifest:
    """Write the bundle of a trained model.

    Args:
        layers: Its towers, as they are served.
        config: The choices of the run.
        encoder: Encoder of the towers' inputs.
        dataset: The data that the model was trained on; golden records are taken from it.
        path: Folder to write; an existing bundle is replaced.
        evaluation: Figures for the manifest.

    Raises:
        BundleError: `path` exists and is not a bundle.
    """
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        export_towers(layers, encoder, models)
        users, movies = golden_records(dataset, histories=encoder.histories)
        towers = Towers(models, encoder)
        golden = Golden(users, movies, towers.users(users), towers.movies(movies))
        return write_bundle(
            path,
            description=Description(
                name=f"fusion-{config.objective}",
                objective=config.objective,
                dimension=config.dimension,
                score_scale=SCORE_SCALES[config.objective],
                paddle_version=paddle.__version__,
                data_fingerprint=dataset.fingerprint,
                evaluation=dict(evaluation),
            ),
            encoder=encoder,
            models=models,
            golden=golden,
        )


def export_towers(layers: Served, encoder: FeatureEncoder, folder: Path) -> None:
    """Write both towers as Paddle inference models: `user.*` and `movie.*`."""

    def index(name: str) -> InputSpec:
        return InputSpec([None], "int64", name)

    known = encoder.vocabularies
    inputs = {
        "user": [*map(index, ("user_id", "gender", "age", "occupation"))],
        "movie": [
            index("movie_id"),
            InputSpec([None, len(known.genre)], "float32", "genres"),
            InputSpec([None, encoder.title_length], "int64", "title"),
        ],
    }
    if encoder.histories:
        inputs["user"] += [index("history"), InputSpec([None, None], "float32", "in_history")]
    for name, tower in zip(inputs, layers, strict=True):
        tower.eval()
        paddle.jit.save(tower, str(folder / name), input_spec=inputs[name])


def golden_records(
    dataset: Dataset, *, histories: bool = False
) -> tuple[tuple[User, ...], tuple[Movie, ...]]:
    """Return records from all over the data set, with every combination of unknown attributes.

    With `histories`, the users come with a history, too: each combination with one and without.
    """
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
    if histories:
        ids = [movie.movie_id for movie in dataset.movies if movie.movie_id is not None]
        users += [
            user._replace(
                liked_movie_ids=tuple(ids[number : 2 * number + 1]),
                disliked_movie_ids=tuple(ids[2 * number + 1 :][: number % 3]),
            )
            for number, user in enumerate(users)
        ]
    return tuple(users), tuple(movies)


def served(model: FusionModel) -> Served:
    """Return the towers of a model of the rating objective as they are served."""
    return _ServedUsers(model.user), _ServedMovies(model.movie)


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
