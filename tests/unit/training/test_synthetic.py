from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import synthetic
from training.baselines import biases, global_mean, item_mean
from training.batches import Split
from training.config import Config
from training.evaluate import rmse
from training.movielens import Dataset, load

FILES = ("users.dat", "movies.dat", "ratings.dat")


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthetic.write(tmp_path / name, users=30, movies=40, ratings_per_user=20, seed=seed)
    a, b, c = ([(tmp_path / n / file).read_bytes() for file in FILES] for n in "abc")
    assert a == b
    assert all(ours != theirs for ours, theirs in zip(a, c, strict=True))


def test_it_has_the_size_asked_for_and_nobody_rates_a_movie_twice(tmp_path: Path) -> None:
    synthetic.write(tmp_path, users=30, movies=40, ratings_per_user=20)
    dataset = load(tmp_path)
    assert (len(dataset.users), len(dataset.movies), len(dataset.ratings)) == (30, 40, 600)
    pairs = np.stack([dataset.ratings.user, dataset.ratings.movie])
    assert np.unique(pairs, axis=1).shape[1] == 600
    assert set(np.unique(dataset.ratings.stars)) <= {1, 2, 3, 4, 5}
    assert {genre for movie in dataset.movies for genre in movie.genres} <= set(synthetic.GENRES)
    assert all(movie.year for movie in dataset.movies)


def test_movies_differ_and_people_differ(dataset: Dataset) -> None:
    split = Split.of(len(dataset.ratings), Config())
    by_all, by_movie, by_both = (
        rmse(dataset.ratings, split.test, baseline(dataset.ratings, split.train, split.test))
        for baseline in (global_mean, item_mean, biases)
    )
    assert by_both < by_movie - 0.02 < by_all - 0.04


@pytest.mark.parametrize("size", [{"movies": 10}, {"users": 0}, {"ratings_per_user": 0}])
def test_what_cannot_be_made_is_refused(tmp_path: Path, size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="there must be users"):
        synthetic.write(tmp_path, **size)
