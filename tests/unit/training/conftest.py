from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusion.bundle import Bundle
from training import machine, synthetic
from training.config import PRESETS, Config
from training.movielens import Dataset, load

machine.prepare(threads=1)  # ahead of the first import of Paddle

from training.pipeline import Trained, train  # noqa: E402

SMALL = PRESETS["small"].model_copy(update={"objective": "rating"})
TINY = Config(
    objective="rating",
    dimension=8,
    embedding=8,
    title_channels=4,
    epochs=3,
    batch_size=128,
    checkpoint_steps=5,
)


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic.write(folder)
    return folder


@pytest.fixture(scope="session")
def dataset(synthetic_folder: Path) -> Dataset:
    return load(synthetic_folder)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    synthetic.write(folder, users=40, movies=50, ratings_per_user=25)
    return load(folder)


@pytest.fixture(scope="session")
def tiny() -> Config:
    return TINY


@pytest.fixture(scope="session")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Trained]:
    """Folder, bundle and outcome of one run on the synthetic set."""
    out = tmp_path_factory.mktemp("run")
    trained = train(SMALL, dataset, out, out / "bundle", progress=False)
    assert trained is not None
    return out, out / "bundle", trained


@pytest.fixture(scope="session")
def bundle(run: tuple[Path, Path, Trained]) -> Bundle:
    return Bundle.load(run[1])


@pytest.fixture(scope="session")
def movielens() -> Path:
    folder = os.environ.get("MOVIELENS_DIR")
    if not folder:
        pytest.skip("MOVIELENS_DIR names no folder with MovieLens-1M")
    return Path(folder)
