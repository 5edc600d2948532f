from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fusion.bundle import Bundle
from fusion.records import Movie, User
from training.batches import Split
from training.config import PRESETS
from training.errors import DataError
from training.movielens import Dataset
from training.pipeline import Trained, evaluate_bundle, train
from training.ranking.closed_form import solve
from training.ranking.evaluate import accuracy
from training.ranking.fit import fit_ranker
from training.ranking.interactions import Interactions
from training.towers import Towers

SMALL = PRESETS["small"]


@pytest.fixture(scope="module")
def ranking(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    out = tmp_path_factory.mktemp("ranking")
    trained = train(SMALL, dataset, out, out / "bundle", progress=False)
    assert trained is not None
    return out, trained


@pytest.fixture(scope="module")
def bundle(ranking: tuple[Path, Trained]) -> Bundle:
    return Bundle.load(ranking[0] / "bundle")


@pytest.fixture(scope="module")
def towers(bundle: Bundle) -> Towers:
    return Towers(bundle.path, bundle.encoder)


def best(towers: Towers, dataset: Dataset, user: User, count: int = 10) -> list[int]:
    """Return the ids of the movies that rank highest for a user."""
    scores = towers.users([user])[0] @ towers.movies(dataset.movies).T
    order = np.argsort(-scores, kind="stable")[:count]
    return [dataset.movies[row].movie_id or 0 for row in order]


def test_a_list_for_somebody_is_better_than_popularity(
    ranking: tuple[Path, Trained],
) -> None:
    figures = ranking[1].manifest.evaluation
    popularity = figures["baseline_popularity_ndcg_at_10"]
    assert figures["ndcg_at_10_nothing_known"] == pytest.approx(popularity, abs=1e-3)
    assert figures["ndcg_at_10_demographics_only"] > 1.1 * popularity
    assert figures["ndcg_at_10"] > 1.2 * popularity


def test_who_is_unknown_gets_the_movies_that_most_people_liked(
    towers: Towers, dataset: Dataset
) -> None:
    split = Split.of(len(dataset.ratings), SMALL)
    known = np.concatenate([split.train, split.validation])
    liked = known[dataset.ratings.stars[known] >= 3]
    popularity = np.bincount(dataset.ratings.movie[liked], minlength=len(dataset.movies))
    scores = towers.users([User()])[0] @ towers.movies(dataset.movies).T
    ranked = popularity[np.argsort(-scores)]
    assert (np.diff(ranked) <= 0).all()


def test_a_score_is_the_cosine_of_two_vectors(
    bundle: Bundle, towers: Towers, dataset: Dataset
) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.objective) == ("fusion-ranking", "ranking")
    assert (manifest.metric, manifest.score_scale) == ("IP", 1.0)
    for vectors in (towers.users(dataset.users), towers.movies(dataset.movies)):
        assert vectors.shape[1] == manifest.dimension == SMALL.dimension
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_golden_vectors_come_out_of_the_exported_model(bundle: Bundle, towers: Towers) -> None:
    bundle.verify_golden(towers.users, towers.movies)
    assert any(user.liked_movie_ids for user in bundle.golden.users)
    assert any(user.disliked_movie_ids for user in bundle.golden.users)


def test_the_bundle_evaluates_to_the_figures_in_its_manifest(
    bundle: Bundle, dataset: Dataset
) -> None:
    figures = evaluate_bundle(bundle, dataset, SMALL)
    assert figures == pytest.approx(dict(bundle.manifest.evaluation), abs=1e-4)


def test_a_history_ranks_as_the_user_whose_history_it_is(towers: Towers, dataset: Dataset) -> None:
    split = Split.of(len(dataset.ratings), SMALL)
    known = np.concatenate([split.train, split.validation])
    ratings, overlap = dataset.ratings, []
    for row in range(20):
        theirs = known[(ratings.user[known] == row) & (ratings.stars[known] >= 3)]
        history = tuple(dataset.movies[m].movie_id or 0 for m in ratings.movie[theirs])
        user = dataset.users[row]
        stranger = user._replace(user_id=None, liked_movie_ids=history)
        lists = [set(best(towers, dataset, each)) for each in (user, stranger)]
        overlap.append(len(lists[0] & lists[1]) / 10)
    assert np.mean(overlap) > 0.7  # a history does not tell how much each movie was liked


def test_the_order_and_the_padding_of_a_history_do_not_matter(towers: Towers) -> None:
    histories = [(3, 1, 2), (1, 2, 3), (9, 8, 7, 6, 5)]
    together = towers.users([User(liked_movie_ids=history) for history in histories])
    alone = towers.users([User(liked_movie_ids=histories[0])])
    np.testing.assert_allclose(together[0], together[1], atol=1e-6)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)
    assert not np.allclose(together[0], together[2], atol=1e-3)


def test_a_movie_that_was_disliked_scores_lower(towers: Towers, dataset: Dataset) -> None:
    ratings, movies = dataset.ratings, towers.movies(dataset.movies)
    known = Split.of(len(ratings), SMALL).train
    disliked = np.bincount(ratings.movie[known[ratings.stars[known] < 3]])
    for row in np.argsort(-disliked)[:5]:
        user = User(disliked_movie_ids=(dataset.movies[row].movie_id or 0,))
        before, after = towers.users([User(), user]) @ movies.T
        assert after[row] < before[row]
        assert (after > after[row]).sum() >= (before > before[row]).sum()


def test_a_new_movie_gets_a_vector_from_its_genres_and_title(
    towers: Towers, dataset: Dataset
) -> None:
    new = [
        Movie(10**9, "The Secret River", None, ("Comedy",)),
        Movie(None, "The Secret River", None, ("Comedy",)),
        Movie(None, "The Secret River", None, ("War",)),
        Movie(),
    ]
    vectors = towers.movies(new)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[1], vectors[2])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    known = dataset.movies[0]
    np.testing.assert_array_equal(*towers.movies([known, Movie(known.movie_id)]))


def test_two_runs_end_with_the_same_bits(tiny_dataset: Dataset) -> None:
    config = SMALL.model_copy(update={"dimension": 8})
    rows = np.arange(len(tiny_dataset.ratings))
    first, second = (fit_ranker(config, tiny_dataset, rows) for _ in range(2))
    for layer in ("user", "movie"):
        ours, theirs = getattr(first, layer).state_dict(), getattr(second, layer).state_dict()
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value.numpy(), theirs[name].numpy())


def test_more_axes_than_movies_do_no_harm(tiny_dataset: Dataset) -> None:
    config = SMALL.model_copy(update={"dimension": 128})  # of 50 movies
    ranker = fit_ranker(config, tiny_dataset, np.arange(len(tiny_dataset.ratings)))
    data = Interactions.of(tiny_dataset, np.arange(len(tiny_dataset.ratings)), ranker.encoder)
    movies = solve(data, config).movies
    assert movies.shape == (50, 127)
    np.testing.assert_allclose(movies @ movies.T, np.eye(50), atol=1e-5)  # nothing is lost


def test_without_a_liked_movie_nothing_is_trained(tiny_dataset: Dataset) -> None:
    rows = np.flatnonzero(tiny_dataset.ratings.stars < 3)
    with pytest.raises(DataError, match="3 stars or more"):
        fit_ranker(SMALL, tiny_dataset, rows)


def test_accuracy_counts_places_from_the_top_and_leaves_out_what_is_known(
    tiny_dataset: Dataset,
) -> None:
    ratings = tiny_dataset.ratings
    liked = np.flatnonzero((ratings.user == 0) & (ratings.stars >= 3))
    known, wanted = liked[:1], liked[1:3]
    scores = np.zeros((1, len(tiny_dataset.movies)), dtype=np.float32)
    scores[0, ratings.movie[known]] = 9  # masked, or it would take the first place
    scores[0, ratings.movie[wanted[0]]] = 8
    ndcg, recall = accuracy(ratings, known, wanted[:1], lambda _: scores)
    assert (ndcg, recall) == (1.0, 1.0)
    others = [m for m in range(len(tiny_dataset.movies)) if m not in ratings.movie[liked[:3]]]
    scores[0, others[:1]] = 8.5
    ndcg, recall = accuracy(ratings, known, wanted[:1], lambda _: scores)
    assert (ndcg, recall) == (pytest.approx(1 / np.log2(3)), 1.0)


def test_the_report_tells_the_run_in_numbers_and_words(
    ranking: tuple[Path, Trained], dataset: Dataset
) -> None:
    out, trained = ranking
    report = json.loads((out / "report.json").read_text())
    assert report["config"] == SMALL.model_dump()
    assert report["data"]["ratings"] == len(dataset.ratings)
    assert report["evaluation"] == trained.manifest.evaluation
    text = (out / "report.txt").read_text()
    assert text == trained.report
    assert f"{report['evaluation']['ndcg_at_10']:.4f}  NDCG, with all that is known" in text
