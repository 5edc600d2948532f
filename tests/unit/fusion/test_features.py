from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.features import FeatureEncoder
from fusion.records import Movie, RecordError, User
from fusion.vocabularies import Vocabularies, words
from fusion.vocabulary import UNKNOWN, Vocabulary

USERS = [User(1, "F", 25, 4), User(7, "M", 56, 0)]
MOVIES = [
    Movie(10, "Toy Story", 1995, ("Animation", "Comedy")),
    Movie(20, "Toy Soldiers", 1991, ("Drama",)),
    Movie(30, "", None, ()),
]
ENCODER = FeatureEncoder(Vocabularies.of(USERS, MOVIES), title_length=4)
WITH_HISTORIES = FeatureEncoder(Vocabularies.of(USERS, MOVIES), histories=True)

users = st.builds(
    User,
    user_id=st.none() | st.integers(1, 2**63 - 1),
    gender=st.none() | st.sampled_from(["F", "M"]),
    age=st.none() | st.integers(1, 120),
    occupation=st.none() | st.integers(0, 20),
    liked_movie_ids=st.lists(st.integers(1, 40)).map(tuple),
    disliked_movie_ids=st.lists(st.integers(41, 2**63 - 1)).map(tuple),
)
movies = st.builds(
    Movie,
    movie_id=st.none() | st.integers(1, 2**63 - 1),
    title=st.text(max_size=100),
    year=st.none() | st.integers(1870, 2200),
    genres=st.lists(st.sampled_from(["Animation", "Comedy", "Drama"])).map(tuple),
)


def test_ancestor_1_features_are_the_same_whatever_the_hash_seed_of_the_process() -> None:
    program = (
        "import json; from fusion.features import *; from fusion.records import *;"
        "from fusion.vocabularies import *;"
        "m = [Movie(1, 'Toy Story of Toys', 1995, ('Drama', 'Action')),"
        "     Movie(2, 'Story of Action', 1996, ('War',))];"
        "u = [User(3, 'M', 32, 5), User(2, 'F', 1, 0)];"
        "e = FeatureEncoder(Vocabularies.of(u, m));"
        "print(json.dumps([{k: v.tolist() for k, v in b.features.items()}"
        "                  for b in (e.users(u), e.movies(m))]))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1


def test_ancestor_1_the_encoder_that_travels_in_the_bundle_is_the_one_of_training() -> None:
    travelled = FeatureEncoder.from_dict(json.loads(json.dumps(ENCODER.to_dict())))
    assert travelled.vocabularies == ENCODER.vocabularies
    for ours, theirs in (
        (ENCODER.users(USERS), travelled.users(USERS)),
        (ENCODER.movies(MOVIES), travelled.movies(MOVIES)),
    ):
        assert ours.features.keys() == theirs.features.keys()
        for name, values in ours.features.items():
            np.testing.assert_array_equal(values, theirs.features[name])


def test_ancestor_9_an_age_of_32_has_the_feature_of_its_bucket() -> None:
    encoded = ENCODER.users([User(age=32), User(age=25), User(age=35)]).features["age"]
    assert encoded[0] == encoded[1] != encoded[2]
    assert UNKNOWN not in encoded


def test_known_values_have_an_index_and_absent_ones_are_unknown() -> None:
    features, unknown_rows, _ = ENCODER.users([USERS[1], User()])
    assert {name: column.tolist() for name, column in features.items()} == {
        "user_id": [2, 0],
        "gender": [2, 0],
        "age": [7, 0],
        "occupation": [1, 0],
    }
    assert all(column.dtype == np.int64 for column in features.values())
    assert unknown_rows == []


def test_ids_that_the_model_has_not_seen_are_encoded_as_unknown_and_reported() -> None:
    by_id = ENCODER.users([User(1), User(99), User(), User(98, "F")])
    assert by_id.features["user_id"].tolist() == [1, 0, 0, 0]
    assert by_id.unknown_rows == [1, 3]
    by_movie = ENCODER.movies([Movie(11), Movie(10), Movie()])
    assert by_movie.features["movie_id"].tolist() == [0, 1, 0]
    assert by_movie.unknown_rows == [0]


def test_a_history_is_the_movies_in_it_that_the_model_knows() -> None:
    batch = [
        User(liked_movie_ids=(30, 10, 99), disliked_movie_ids=(98, 20)),
        User(7),
        User(liked_movie_ids=(20,)),
    ]
    encoded = WITH_HISTORIES.users(batch)
    disliked = 2 + len(MOVIES) + 1
    assert encoded.features["history"].tolist() == [1, 2, 3, disliked]
    assert encoded.features["history"].dtype == np.int64
    assert encoded.features["in_history"].tolist() == [[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert encoded.features["in_history"].dtype == np.float32
    assert encoded.ignored == {0: [99, 98]}
    assert encoded.unknown_rows == []


def test_a_movie_that_is_twice_in_a_history_counts_once() -> None:
    features = WITH_HISTORIES.users([User(liked_movie_ids=(20, 20, 10))]).features
    assert features["history"].tolist() == [1, 2]
    assert features["in_history"].tolist() == [[1, 1]]


def test_a_batch_without_histories_has_one_empty_place_for_them() -> None:
    features = WITH_HISTORIES.users([User(), User(liked_movie_ids=(99,))]).features
    assert features["history"].tolist() == [0]
    assert features["in_history"].tolist() == [[0], [0]]
    assert WITH_HISTORIES.users([]).features["in_history"].shape == (0, 1)


def test_a_model_without_histories_knows_no_movie_of_them() -> None:
    encoded = ENCODER.users([User(), User(liked_movie_ids=(10,), disliked_movie_ids=(20,))])
    assert encoded.ignored == {1: [10, 20]}
    assert encoded.features.keys() == {"user_id", "gender", "age", "occupation"}


def test_an_encoder_from_before_histories_has_none() -> None:
    content = WITH_HISTORIES.to_dict()
    assert FeatureEncoder.from_dict(content).histories
    del content["histories"]
    assert not FeatureEncoder.from_dict(content).histories


@pytest.mark.parametrize("encoder", [ENCODER, WITH_HISTORIES])
def test_a_bad_history_is_named_by_row_and_field(encoder: FeatureEncoder) -> None:
    with pytest.raises(RecordError) as caught:
        encoder.users([User(), User(liked_movie_ids=(10, 0))])
    assert (caught.value.field, caught.value.row) == ("liked_movie_ids[1]", 1)


def test_a_movie_is_its_id_its_genres_and_the_words_of_its_title() -> None:
    features = ENCODER.movies([*MOVIES, Movie(title="The toy TOY toys toy toy toy")]).features
    toy = ENCODER.vocabularies.title_word.index("toy")
    assert toy != UNKNOWN
    assert features["title"].tolist() == [[toy, 0, 0, 0], [toy, 0, 0, 0], [0] * 4, [0, toy, toy, 0]]
    np.testing.assert_array_equal(
        features["genres"],
        np.array([[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=np.float32),
    )
    assert features["genres"].dtype == np.float32


def test_a_genre_that_the_model_does_not_know_is_refused_with_its_row() -> None:
    with pytest.raises(RecordError, match="'Manga' is not a genre") as caught:
        ENCODER.movies([MOVIES[0], Movie(genres=("Drama", "Manga"))])
    assert (caught.value.field, caught.value.row) == ("genres", 1)


def test_a_bad_record_in_a_batch_is_named_by_row_and_field() -> None:
    with pytest.raises(RecordError) as caught:
        ENCODER.users([User(), User(), User(age=400)])
    assert (caught.value.field, caught.value.row) == ("age", 2)


def test_an_empty_batch_has_the_shape_of_its_inputs() -> None:
    assert [c.shape for c in ENCODER.users([]).features.values()] == [(0,)] * 4
    assert [c.shape for c in ENCODER.movies([]).features.values()] == [(0,), (0, 4), (0, 4)]


@given(st.lists(users, max_size=8))
def test_any_valid_users_are_encoded_within_their_vocabularies(batch: list[User]) -> None:
    features, unknown_rows, _ = ENCODER.users(batch)
    sizes = ENCODER.vocabularies.sizes()
    for name, column in features.items():
        assert column.shape == (len(batch),)
        assert all(0 <= index < sizes[name] for index in column)
    assert unknown_rows == [
        row for row, user in enumerate(batch) if user.user_id not in (None, 1, 7)
    ]


@given(st.lists(movies, max_size=8))
def test_any_valid_movies_are_encoded_one_by_one_as_in_a_batch(batch: list[Movie]) -> None:
    together = ENCODER.movies(batch).features
    for row, movie in enumerate(batch):
        for name, values in ENCODER.movies([movie]).features.items():
            np.testing.assert_array_equal(values[0], together[name][row])
    assert (together["genres"].sum(axis=1) >= 1).all()
    assert (together["title"] < len(ENCODER.vocabularies.title_word)).all()


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Schindler's List", ["schindler's", "list"]),
        ("Schindler\u2019s List", ["schindler's", "list"]),
        ("2001: A Space Odyssey", ["2001", "a", "space", "odyssey"]),
        ("Misérables, Les", ["miserables", "les"]),
        ("Mise\u0301rables", ["miserables"]),
        ("-- ??", []),
    ],
)
def test_titles_fall_into_words(title: str, expected: list[str]) -> None:
    assert words(title) == expected


@given(st.text())
def test_words_of_words_are_the_same_words(title: str) -> None:
    once = words(title)
    assert words(" ".join(once)) == once


def test_words_of_one_title_alone_are_not_in_the_vocabulary() -> None:
    assert ENCODER.vocabularies.title_word.values == ("toy",)


def test_vocabularies_do_not_depend_on_the_order_of_the_records() -> None:
    assert Vocabularies.of(USERS[::-1], MOVIES[::-1]) == ENCODER.vocabularies


@pytest.mark.parametrize(
    "content", [{}, {"title_length": 4, "vocabularies": {}}, {"vocabularies": None}]
)
def test_an_encoder_cannot_be_made_of_something_else(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a field is missing or invalid"):
        FeatureEncoder.from_dict(content)


@given(st.lists(st.integers(), unique=True))
def test_a_vocabulary_gives_each_value_an_index_and_0_to_all_others(values: list[int]) -> None:
    known = Vocabulary(values)
    assert len(known) == len(values) + 1
    assert [known.values[known.index(value) - 1] for value in values] == values
    assert all(known.index(value) != UNKNOWN for value in values)
    assert known.index(max(values, default=0) + 1) == UNKNOWN
    assert known.index(None) == UNKNOWN


def test_a_value_cannot_be_in_a_vocabulary_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])
