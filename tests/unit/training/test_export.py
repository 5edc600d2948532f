from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fusion.bundle import Bundle, BundleError
from fusion.records import Movie, User
from training.baselines import biases, item_mean
from training.batches import Split
from training.config import PRESETS
from training.evaluate import predict, rmse
from training.export import golden_records
from training.movielens import Dataset
from training.pipeline import Trained, evaluate_bundle, train
from training.towers import Towers

SMALL = PRESETS["small"].model_copy(update={"objective": "rating"})
Run = tuple[Path, Path, Trained]


def test_the_model_predicts_better_than_what_needs_no_model(run: Run) -> None:
    figures = run[2].manifest.evaluation
    assert figures["rmse"] < figures["baseline_biases"] - 0.03
    assert figures["rmse"] < figures["baseline_item_mean"] - 0.05


def test_demographics_alone_predict_better_than_the_mean_of_the_movie(run: Run) -> None:
    figures = run[2].manifest.evaluation
    assert figures["rmse_demographics_only"] < figures["baseline_item_mean"] - 0.03


def test_whatever_is_unknown_costs_accuracy_but_not_more_than_everything(run: Run) -> None:
    figures = run[2].manifest.evaluation
    assert figures["rmse"] < figures["rmse_demographics_only"] < figures["rmse_nothing_known"]
    assert figures["rmse"] < figures["rmse_id_only"] < figures["rmse_nothing_known"]
    assert figures["rmse_nothing_known"] < figures["baseline_item_mean"] + 0.03
    assert figures["rmse_new_movies"] < figures["baseline_global_mean"]


def test_ancestor_1_the_golden_vectors_come_out_of_the_exported_model(bundle: Bundle) -> None:
    towers = Towers(bundle.path, bundle.encoder)
    bundle.verify_golden(towers.users, towers.movies)
    with pytest.raises(BundleError, match="golden user vectors"):
        bundle.verify_golden(lambda users: towers.users(users[::-1]), towers.movies)


def test_ancestor_2_the_scaled_inner_product_of_the_vectors_is_the_predicted_rating(
    bundle: Bundle, dataset: Dataset
) -> None:
    towers = Towers(bundle.path, bundle.encoder)
    users, movies = towers.users(dataset.users), towers.movies(dataset.movies)
    manifest = bundle.manifest
    assert (manifest.metric, manifest.score_scale) == ("IP", 5.0)
    assert users.shape[1] == movies.shape[1] == manifest.dimension == SMALL.dimension
    for vectors in (users, movies):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    split = Split.of(len(dataset.ratings), SMALL)
    predicted = predict(users, movies, dataset.ratings, split.test, manifest.score_scale)
    assert rmse(dataset.ratings, split.test, predicted) == pytest.approx(
        manifest.evaluation["rmse"], abs=1e-5
    )
    # The order is that of the score: the best by inner product are the ones rated higher.
    best = predicted >= np.quantile(predicted, 0.9)
    stars = dataset.ratings.stars[split.test]
    assert stars[best].mean() > stars[~best].mean() + 0.5


def test_the_manifest_says_what_was_trained_on_what(
    run: Run, bundle: Bundle, dataset: Dataset
) -> None:
    manifest = bundle.manifest
    assert manifest == run[2].manifest
    assert (manifest.name, manifest.objective) == ("fusion-rating", "rating")
    assert manifest.data_fingerprint == dataset.fingerprint
    assert manifest.paddle_version.startswith("3.")


def test_the_bundle_evaluates_to_the_figures_in_its_manifest(
    bundle: Bundle, dataset: Dataset
) -> None:
    figures = evaluate_bundle(bundle, dataset, SMALL)
    assert figures == pytest.approx(dict(bundle.manifest.evaluation), abs=1e-5)


def test_the_baselines_are_fitted_to_the_training_ratings_alone(run: Run, dataset: Dataset) -> None:
    split = Split.of(len(dataset.ratings), SMALL)
    figures = run[2].manifest.evaluation
    for name, baseline in (("baseline_item_mean", item_mean), ("baseline_biases", biases)):
        predicted = baseline(dataset.ratings, split.train, split.test)
        assert figures[name] == pytest.approx(rmse(dataset.ratings, split.test, predicted))


def test_golden_records_have_every_combination_of_unknown_attributes(dataset: Dataset) -> None:
    users, movies = golden_records(dataset)
    assert {tuple(value is None for value in fields(user)) for user in users} == {
        (a, b, c, d) for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)
    }
    assert {(m.movie_id is None, not m.title, not m.genres) for m in movies} == {
        (a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    }


def fields(user: User) -> tuple[object, ...]:
    return user.user_id, user.gender, user.age, user.occupation


def test_a_movie_that_was_never_seen_gets_a_vector_of_its_own(bundle: Bundle) -> None:
    towers = Towers(bundle.path, bundle.encoder)
    vectors = towers.movies(
        [
            Movie(10**9, "The Secret River", None, ("Comedy",)),
            Movie(None, "The Secret River", None, ("Comedy",)),
            Movie(None, "The Secret River", None, ("War",)),
        ]
    )
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[1], vectors[2])


def test_the_report_tells_the_run_in_numbers_words_and_curves(run: Run, dataset: Dataset) -> None:
    out, _, trained = run
    report = json.loads((out / "report.json").read_text())
    assert report["config"] == SMALL.model_dump()
    assert report["data"]["ratings"] == len(dataset.ratings)
    assert report["evaluation"] == trained.manifest.evaluation
    assert len(report["history"]) == SMALL.epochs
    assert 0 < report["loading_share"] < 0.5
    text = (out / "report.txt").read_text()
    assert text == trained.report
    assert f"{report['evaluation']['rmse']:.4f}  all that is known" in text
    assert text.count("best") == 1
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_bundle_is_made_again_in_its_place(
    tiny_dataset: Dataset, tiny: object, tmp_path: Path
) -> None:
    versions = set()
    for seed in (1, 2):
        config = SMALL.model_copy(
            update={"epochs": 1, "seed": seed, "embedding": 8, "dimension": 8}
        )
        trained = train(config, tiny_dataset, tmp_path / "run", tmp_path / "b", progress=False)
        assert trained is not None
        assert Bundle.load(tmp_path / "b").manifest.version == trained.manifest.version
        versions.add(trained.manifest.version)
    assert len(versions) == 2
