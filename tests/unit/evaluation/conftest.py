from __future__ import annotations

import pytest

from training import machine, synthetic
from training.evaluation.splits import Split, random_split
from training.movielens import Dataset, load

machine.prepare(threads=1)  # ahead of the first import of Paddle


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic.write(folder, users=150, movies=120, ratings_per_user=50)
    return load(folder)


@pytest.fixture(scope="session")
def split(dataset: Dataset) -> Split:
    return random_split(dataset, 0)
