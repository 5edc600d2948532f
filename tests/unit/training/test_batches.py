from __future__ import annotations

import numpy as np
import pytest

from fusion.features import FeatureEncoder
from fusion.vocabularies import Vocabularies
from training.batches import Batches, Split
from training.config import Config
from training.errors import DataError
from training.movielens import Dataset
from training.parallel import Workers

SEEN = Config(
    batch_size=128, user_id_dropout=0, movie_id_dropout=0, attribute_dropout=0, user_dropout=0
)
HIDDEN = Config(
    batch_size=500,
    user_id_dropout=0.5,
    movie_id_dropout=0.4,
    attribute_dropout=0.3,
    user_dropout=0,
)


def batches(dataset: Dataset, config: Config, workers: Workers | None = None) -> Batches:
    encoder = FeatureEncoder(Vocabularies.of(dataset.users, dataset.movies))
    rows = Split.of(len(dataset.ratings), config).train
    return Batches(dataset, encoder, rows, config, workers or Workers())


def test_a_split_takes_each_rating_once_and_has_the_shares_asked_for() -> None:
    split = Split.of(10_000, Config(test_share=0.1, validation_share=0.02))
    assert [len(rows) for rows in (split.train, split.validation, split.test)] == [8820, 180, 1000]
    everything = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(everything), np.arange(10_000))


def test_a_split_follows_from_the_seed_alone() -> None:
    first, again, other = (Split.of(1000, Config(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_too_few_ratings_are_refused() -> None:
    with pytest.raises(DataError, match="5 ratings are too few"):
        Split.of(5, Config())


def test_an_epoch_has_each_training_rating_once_in_batches_of_about_one_size(
    tiny_dataset: Dataset,
) -> None:
    source = batches(tiny_dataset, SEEN)
    parts = [source.get(0, step) for step in range(source.steps)]
    sizes = {len(batch.stars) for batch in parts}
    assert max(sizes) <= 128
    assert max(sizes) - min(sizes) <= 1
    rows = Split.of(len(tiny_dataset.ratings), SEEN).train
    seen = np.concatenate([batch.user["user_id"] for batch in parts])
    assert np.array_equal(np.sort(seen), np.sort(tiny_dataset.ratings.user[rows] + 1))


def test_a_batch_holds_what_the_encoder_makes_of_its_ratings(tiny_dataset: Dataset) -> None:
    encoder = FeatureEncoder(Vocabularies.of(tiny_dataset.users, tiny_dataset.movies))
    movies = encoder.movies(tiny_dataset.movies).features
    users = encoder.users(tiny_dataset.users).features
    batch = batches(tiny_dataset, SEEN).get(2, 1)
    who, what = batch.user["user_id"] - 1, batch.movie["movie_id"] - 1
    row = batch.movie["row"]
    for name in ("gender", "age", "occupation"):
        np.testing.assert_array_equal(batch.user[name], users[name][who])
    for name in ("genres", "title"):
        np.testing.assert_array_equal(batch.movie[name][row], movies[name][what])
    assert len(batch.movie["title"]) == len(np.unique(what))


def test_a_batch_follows_from_seed_epoch_and_step_and_not_from_what_came_before(
    tiny_dataset: Dataset,
) -> None:
    fresh, used = (batches(tiny_dataset, HIDDEN) for _ in range(2))
    for epoch, step in ((0, 0), (1, 0), (0, 1)):
        used.get(epoch, step)
    a, b, other = fresh.get(1, 1), used.get(1, 1), used.get(2, 1)
    for ours, theirs in ((a.user, b.user), (a.movie, b.movie)):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(a.stars, b.stars)
    assert not np.array_equal(a.user["user_id"], other.user["user_id"])


def test_the_share_asked_for_of_each_attribute_is_hidden(dataset: Dataset) -> None:
    source = batches(dataset, HIDDEN)
    parts = [source.get(0, step) for step in range(10)]
    for name, share in (("user_id", 0.5), ("gender", 0.3), ("age", 0.3), ("occupation", 0.3)):
        unknown = np.mean([np.mean(batch.user[name] == 0) for batch in parts])
        assert unknown == pytest.approx(share, abs=0.05), name
    assert np.mean([np.mean(b.movie["movie_id"] == 0) for b in parts]) == pytest.approx(
        0.4, abs=0.05
    )
    no_genres = np.concatenate([b.movie["genres"][:, 0] for b in parts])
    assert np.mean(no_genres) == pytest.approx(0.3, abs=0.05)
    for batch in parts:
        hidden = batch.movie["genres"][:, 0] == 1
        assert (batch.movie["genres"][hidden].sum(axis=1) == 1).all()


def test_of_some_ratings_nothing_of_the_user_is_shown(dataset: Dataset) -> None:
    source = batches(dataset, SEEN.model_copy(update={"batch_size": 4000, "user_dropout": 0.2}))
    user = source.get(0, 0).user
    hidden = {name: values == 0 for name, values in user.items()}
    assert np.mean(hidden["user_id"]) == pytest.approx(0.2, abs=0.03)
    for name in ("gender", "age", "occupation"):
        np.testing.assert_array_equal(hidden[name], hidden["user_id"])


def test_the_workers_together_have_the_batch_of_one(tiny_dataset: Dataset) -> None:
    alone = batches(tiny_dataset, HIDDEN).get(0, 0)
    shares = [batches(tiny_dataset, HIDDEN, Workers(rank, 3)).get(0, 0) for rank in range(3)]
    assert {share.total for share in shares} == {alone.total} == {len(alone.stars)}
    for rank, share in enumerate(shares):
        np.testing.assert_array_equal(share.stars, alone.stars[rank::3])
        np.testing.assert_array_equal(share.user["user_id"], alone.user["user_id"][rank::3])
        title = alone.movie["title"][alone.movie["row"]]
        np.testing.assert_array_equal(share.movie["title"][share.movie["row"]], title[rank::3])
