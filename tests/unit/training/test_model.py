from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from fusion.features import FeatureEncoder
from fusion.records import Movie, User
from fusion.vocabularies import Vocabularies
from training.config import Config
from training.export import export_towers, served
from training.model import FusionModel
from training.movielens import Dataset
from training.towers import Towers
from training.train import embed

PEOPLE = [User(1, "F", 25, 4), User(gender="M", age=60), User(2), User()]


@pytest.fixture(scope="module")
def encoder(tiny_dataset: Dataset) -> FeatureEncoder:
    return FeatureEncoder(Vocabularies.of(tiny_dataset.users, tiny_dataset.movies))


@pytest.fixture(scope="module")
def model(encoder: FeatureEncoder, tiny: Config) -> FusionModel:
    paddle.seed(7)
    model = FusionModel(encoder.vocabularies.sizes(), tiny)
    # Large weights, so that no part of a tower is lost in another's rounding.
    for parameter in model.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.5)
    return model


def test_vectors_have_length_one(model: FusionModel, encoder: FeatureEncoder) -> None:
    vectors = embed(model.user, encoder.users(PEOPLE).features)
    assert vectors.shape == (4, 8)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_every_attribute_of_a_user_counts(model: FusionModel, encoder: FeatureEncoder) -> None:
    people = [
        User(1, "F", 25, 4),
        User(2, "F", 25, 4),
        User(1, "M", 25, 4),
        User(1, "F", 35, 4),
        User(1, "F", 25, 5),
        User(None, "F", 25, 4),
        User(1, None, 25, 4),
        User(1, "F", None, 4),
        User(1, "F", 25, None),
    ]
    vectors = embed(model.user, encoder.users(people).features)
    assert len(np.unique(vectors.round(4), axis=0)) == len(people)


def test_every_attribute_of_a_movie_counts(
    model: FusionModel, encoder: FeatureEncoder, tiny_dataset: Dataset
) -> None:
    known = encoder.vocabularies
    one, two = known.title_word.values[:2]
    drama, war = known.genre.values[:2]
    movies = [
        Movie(1, f"{one} {two}", None, (drama,)),
        Movie(2, f"{one} {two}", None, (drama,)),
        Movie(1, f"{two} {one}", None, (drama,)),
        Movie(1, one, None, (drama,)),
        Movie(1, "", None, (drama,)),
        Movie(1, f"{one} {two}", None, (drama, war)),
        Movie(1, f"{one} {two}", None, ()),
        Movie(None, f"{one} {two}", None, (drama,)),
    ]
    vectors = embed(model.movie, encoder.movies(movies).features)
    assert len(np.unique(vectors.round(4), axis=0)) == len(movies)


def test_a_title_is_convolved_with_a_window_of_three_words(
    model: FusionModel, tiny: Config
) -> None:
    title = model.movie.title
    table, filters = title.table.numpy(), title.filters.numpy()
    channels = tiny.title_channels
    words = np.array([[0, 1, 2, 3, 4, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0, 0, 6]])
    expected = []
    for row in np.pad(words, ((0, 0), (1, 1))):
        places = [
            sum(
                table[row[start + place]] @ filters[:, place * channels : (place + 1) * channels]
                for place in range(3)
            )
            for start in range(10)
        ]
        expected.append(np.tanh(np.array(places) + title.filter_bias.numpy()).sum(axis=0))
    answer = title(paddle.to_tensor(words)).numpy()
    np.testing.assert_allclose(answer, np.array(expected) @ title.weight.numpy(), atol=1e-4)


def test_a_movie_that_occurs_often_is_computed_once_with_the_same_result(
    model: FusionModel, encoder: FeatureEncoder, tiny_dataset: Dataset
) -> None:
    features = encoder.movies(tiny_dataset.movies[:5]).features
    row = np.array([4, 0, 0, 3, 4])
    together = embed(model.movie, {**features, "movie_id": features["movie_id"][row], "row": row})
    np.testing.assert_allclose(together, embed(model.movie, features)[row], atol=1e-6)


def test_the_exported_towers_answer_as_the_trained_ones(
    model: FusionModel, encoder: FeatureEncoder, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    export_towers(served(model), encoder, tmp_path)
    towers = Towers(tmp_path, encoder)
    users = [*PEOPLE, *tiny_dataset.users]
    movies = [*tiny_dataset.movies, Movie(), Movie(title="The River"), Movie(3)]
    np.testing.assert_allclose(
        towers.users(users), embed(model.user, encoder.users(users).features), atol=1e-5
    )
    np.testing.assert_allclose(
        towers.movies(movies), embed(model.movie, encoder.movies(movies).features), atol=1e-5
    )


def test_a_vector_does_not_depend_on_the_batch_it_is_made_in(
    model: FusionModel, encoder: FeatureEncoder, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    export_towers(served(model), encoder, tmp_path)
    towers = Towers(tmp_path, encoder)
    many = list(tiny_dataset.users) * 60
    assert len(many) > 2 * 1024
    vectors = towers.users(many)
    np.testing.assert_allclose(vectors[-1:], towers.users(many[-1:]), atol=1e-6)
