from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from fusion.records import Movie, User
from training.errors import DataError
from training.evaluation import splits
from training.evaluation.splits import Split
from training.movielens import Dataset, Ratings

Cut = Callable[[Dataset, int], Split]
RANKING = [splits.random_split, splits.recbole_split, splits.time_split]
RATING = [splits.rating_split, splits.rating_time_split]


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Ratings of most pairs of some users and movies, some of them twice."""
    users, movies = draw(st.integers(15, 30)), draw(st.integers(15, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    pairs = np.flatnonzero(rng.random(users * movies) < 0.9)
    pairs = rng.permutation(np.append(pairs, rng.choice(pairs, draw(st.integers(0, 100)))))
    stars = rng.choice(5, len(pairs), p=[0.05, 0.05, 0.2, 0.3, 0.4]) + 1
    times = rng.integers(1, 1000, len(pairs)) * (rng.random(len(pairs)) < 0.8)
    return Dataset(
        tuple(User(row + 1) for row in range(users)),
        tuple(Movie(row + 1, f"M{row}") for row in range(movies)),
        Ratings(pairs // movies, pairs % movies, stars.astype(np.float32), times),
        "0" * 12,
    )


def make(cut: Cut, dataset: Dataset) -> Split:
    try:
        return cut(dataset, 1)
    except DataError:
        assume(False)
        raise


def pairs(split: Split, part: csr_matrix) -> dict[tuple[int, int], float]:
    """Return the stars of a part by the ids of user and movie."""
    found = part.tocoo()
    return {
        (int(split.users[u].user_id or 0), int(split.movies[m].movie_id or 0)): float(s)
        for u, m, s in zip(found.row, found.col, found.data, strict=True)
    }


def newest(dataset: Dataset) -> dict[tuple[int, int], tuple[int, float]]:
    """Return time and stars of the newest rating of each pair, the last of equally new ones."""
    found: dict[tuple[int, int], tuple[int, float]] = {}
    columns = vars(dataset.ratings)
    for u, m, s, t in zip(*(columns[name] for name in columns), strict=True):
        pair = (int(u) + 1, int(m) + 1)
        if pair not in found or t >= found[pair][0]:
            found[pair] = (int(t), float(s))
    return found


@settings(max_examples=25, deadline=None)
@given(datasets(), st.sampled_from(RANKING + RATING))
def test_no_pair_is_in_two_parts_and_each_has_its_newest_rating(dataset: Dataset, cut: Cut) -> None:
    split = make(cut, dataset)
    parts = [
        pairs(split, part) for part in (split.train, split.validation, split.test, split.disliked)
    ]
    together = {pair: stars for part in parts for pair, stars in part.items()}
    assert len(together) == sum(map(len, parts))
    rated = newest(dataset)
    assert together == {pair: rated[pair][1] for pair in together}


@settings(max_examples=25, deadline=None)
@given(datasets(), st.sampled_from(RANKING))
def test_a_ranking_is_about_likes_of_users_and_movies_with_ten(dataset: Dataset, cut: Cut) -> None:
    split = make(cut, dataset)
    likes = split.train + split.validation + split.test
    assert likes.data.min() >= 3
    assert likes.getnnz(axis=0).min() >= 10
    assert likes.getnnz(axis=1).min() >= 10
    assert not split.disliked.nnz or split.disliked.data.max() < 3


@settings(max_examples=25, deadline=None)
@given(datasets())
def test_random_splits_give_each_user_eight_tenths(dataset: Dataset) -> None:
    for cut in (splits.random_split, splits.recbole_split):
        split = make(cut, dataset)
        parts = (split.train, split.validation, split.test)
        train, validation, test = (part.getnnz(axis=1) for part in parts)
        count = train + validation + test
        if cut is splits.random_split:
            np.testing.assert_array_equal(train, count * 8 // 10)
            np.testing.assert_array_equal(test, -(-count // 10))
        else:
            np.testing.assert_array_equal(test, count // 10)
            np.testing.assert_array_equal(validation, count // 10)


@settings(max_examples=25, deadline=None)
@given(datasets(), st.sampled_from([splits.time_split, splits.rating_time_split]))
def test_nothing_of_the_past_is_tested(dataset: Dataset, cut: Cut) -> None:
    split = make(cut, dataset)
    time = {pair: when for pair, (when, _) in newest(dataset).items()}
    known = [*pairs(split, split.train), *pairs(split, split.validation)]
    known += pairs(split, split.disliked)
    assert max(time[pair] for pair in known) < min(time[p] for p in pairs(split, split.test))


def test_the_cut_by_time_is_the_moment_before_which_four_fifths_were_rated() -> None:
    rows = np.arange(1000)
    times = np.where(rows < 300, 0, rows)  # an unknown time is a past one
    stars = np.full(1000, 4, dtype=np.float32)
    dataset = Dataset(
        tuple(User(row + 1) for row in range(40)),
        tuple(Movie(row + 1, f"M{row}") for row in range(25)),
        Ratings(rows % 40, rows // 40, stars, times),
        "0" * 12,
    )
    split = splits.rating_time_split(dataset, 1)
    assert split.test.nnz == 200
    assert split.train.nnz + split.validation.nnz == 800


@settings(max_examples=10, deadline=None)
@given(datasets(), st.sampled_from(RANKING + RATING))
def test_a_split_follows_from_its_seed(dataset: Dataset, cut: Cut) -> None:
    first, again = make(cut, dataset), make(cut, dataset)
    assert pairs(first, first.test) == pairs(again, again.test)
    assert pairs(first, first.train) == pairs(again, again.train)


@pytest.mark.parametrize("cut", RANKING)
def test_too_few_likes_are_refused(cut: Cut) -> None:
    ratings = Ratings(
        np.arange(5), np.arange(5), np.full(5, 4, dtype=np.float32), np.arange(5, dtype=np.int64)
    )
    users, movies = tuple(User(n + 1) for n in range(5)), tuple(Movie(n + 1) for n in range(5))
    with pytest.raises(DataError, match="10 likes each"):
        cut(Dataset(users, movies, ratings, "0" * 12), 1)
