"""Splits and baselines on MovieLens-1M: the sizes and figures that the field knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.evaluation.rankers import fit_ease, fit_popularity
from training.evaluation.ranking import rank
from training.evaluation.slices import slices
from training.evaluation.splits import Split, random_split, recbole_split, time_split
from training.movielens import Dataset, load

pytestmark = [pytest.mark.slow, pytest.mark.movielens, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    source = os.environ.get("MOVIELENS_DIR")
    if not source:
        pytest.skip("MOVIELENS_DIR names no folder with MovieLens-1M")
    return load(Path(source))


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return random_split(dataset, 0)


def test_the_splits_have_the_sizes_of_the_protocol(dataset: Dataset, split: Split) -> None:
    assert split.train.shape == (6033, 3123)
    assert (split.train.nnz, split.validation.nnz, split.test.nnz) == (665_133, 83_165, 86_151)
    assert recbole_split(dataset, 0).test.nnz == 80_695
    by_time = time_split(dataset, 0)
    assert by_time.train.nnz + by_time.validation.nnz == 668_772
    assert by_time.test.nnz == 165_677


def test_tuned_ease_and_popularity_rank_as_well_as_they_should(split: Split) -> None:
    everybody = slices(split, 0)[:1]
    figures = {
        fit.__name__: rank(fit(split).ranker, split, everybody)["published"]["all"]
        .values["ndcg@10"]
        .mean()
        for fit in (fit_ease, fit_popularity)
    }
    # Another seed moves both by 0.003.
    assert figures["fit_ease"] == pytest.approx(0.297, abs=0.006)
    assert figures["fit_popularity"] == pytest.approx(0.124, abs=0.004)
