from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.evaluation.comparison import BASELINES, compare
from training.evaluation.report import write_report
from training.evaluation.results import Results
from training.movielens import Dataset

MODELS = ("popularity", "ease", "edlae", "global_mean", "biases")


@pytest.fixture(scope="module")
def results(dataset: Dataset) -> Results:
    return compare(dataset, 0, lambda line: None, only=MODELS)


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "new", results)
    return folder / "new"


def test_the_json_has_the_figures_by_model_split_and_slice(report: Path) -> None:
    content = json.loads((report / "results.json").read_text())
    assert set(content["models"]) == set(MODELS)
    for part in ("all", "heavy", "light", "nothing_known", "likes_1", "likes_3", "likes_10"):
        figures = content["models"]["ease"]["random"][part]
        assert {"ndcg@10", "recall@10", "recall@20"} <= figures.keys()
        low, high = figures["intervals"]["ndcg@10"]
        assert low < figures["ndcg@10"] < high
    assert set(content["models"]["ease"]["recbole"]) == {"all"}
    assert content["models"]["biases"]["ratings"]["all"]["rmse"] > 0
    assert "random" not in content["models"]["biases"]


def test_the_masks_are_apart(report: Path) -> None:
    content = json.loads((report / "results.json").read_text())
    published = content["models"]["popularity"]["random"]["all"]
    served = content["served_mask"]["models"]["popularity"]["random"]["all"]
    assert served["ndcg@10"] > published["ndcg@10"]
    text = (report / "report.md").read_text()
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    ranking = [title for title in titles if "all ratings" not in title]
    assert ranking
    assert all(("published mask" in each) != ("served mask" in each) for each in ranking)


def test_a_model_is_compared_with_every_baseline_and_baselines_with_none(results: Results) -> None:
    cell = results.published["edlae"]["random"]["all"]
    assert set(cell.differences) == {"popularity", "ease"}
    for baseline, by_metric in cell.differences.items():
        theirs = results.published[baseline]["random"]["all"].figures["ndcg@10"]
        difference = by_metric["ndcg@10"]
        assert difference.value == pytest.approx(cell.figures["ndcg@10"] - theirs)
        assert difference.ratio == pytest.approx(cell.figures["ndcg@10"] / theirs)
        assert difference.interval[0] <= difference.value <= difference.interval[1]
    for name in set(MODELS) & set(BASELINES):
        for cells in results.published[name].values():
            assert not any(cell.differences for cell in cells.values())


def test_the_headline_is_of_all_users_with_the_published_mask(results: Results) -> None:
    headline = results.headline("ease")
    cell = results.published["ease"]["random"]["all"]
    assert headline["ndcg@10"] == cell.figures["ndcg@10"]
    assert (headline["ndcg@10_low"], headline["ndcg@10_high"]) == cell.intervals["ndcg@10"]
    assert results.headline("biases").keys() >= {"rmse", "mae"}
    assert results.headline("nobody") == {}


def test_the_report_has_a_picture_and_a_page_that_loads_nothing(report: Path) -> None:
    assert (report / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (report / "report.html").read_text()
    assert page.count("<svg") == 1
    assert "<h2>random 8:1:1 per user, published mask</h2>" in page
    assert "<script" not in page
    assert " src=" not in page
    assert "<link" not in page


def test_two_comparisons_give_the_same_figures(dataset: Dataset, results: Results) -> None:
    again = compare(dataset, 0, lambda line: None, only=("popularity", "biases"))
    for name in ("popularity", "biases"):
        assert again.published[name] == results.published[name]
