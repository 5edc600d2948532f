from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion.bundle import MODEL_FILES, Bundle, BundleError, Golden, Vectors, write_bundle
from fusion.features import FeatureEncoder
from fusion.manifest import Description
from fusion.records import Movie, User
from fusion.vocabularies import Vocabularies

USERS = (User(1, "F", 25, 4, (10, 20), (30,)), User(gender="M"), User())
MOVIES = (Movie(10, "Toy Story", 1995, ("Comedy",)), Movie())
VECTORS = np.eye(3, 8, dtype=np.float32)
DESCRIPTION = Description(
    name="fusion-rating",
    objective="rating",
    dimension=8,
    score_scale=5.0,
    paddle_version="3.3.1",
    data_fingerprint="0123456789ab",
    evaluation={"rmse": 0.85},
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a bundle; its towers may be any bytes."""
    models = tmp_path / "models"
    models.mkdir()
    for name in MODEL_FILES:
        (models / name).write_bytes(f"content of {name}".encode())

    def write(
        description: Description = DESCRIPTION, *, name: str = "bundle", vectors: Vectors = VECTORS
    ) -> Path:
        write_bundle(
            tmp_path / name,
            description=description,
            encoder=FeatureEncoder(Vocabularies.of(USERS, MOVIES)),
            models=models,
            golden=Golden(USERS, MOVIES, vectors, vectors[: len(MOVIES)]),
        )
        return tmp_path / name

    return write


@pytest.fixture
def path(write: Write) -> Path:
    return write()


def test_what_is_written_is_what_is_read(path: Path) -> None:
    bundle = Bundle.load(path)
    assert {**vars(bundle.manifest)} == {**vars(DESCRIPTION), "version": bundle.manifest.version}
    assert bundle.encoder.vocabularies == Vocabularies.of(USERS, MOVIES)
    assert (bundle.golden.users, bundle.golden.movies) == (USERS, MOVIES)
    np.testing.assert_array_equal(bundle.golden.user_vectors, VECTORS)
    assert bundle.path == path


def test_the_version_follows_the_content_and_not_the_evaluation(write: Write) -> None:
    first = Bundle.load(write(name="a")).manifest.version
    assert len(first) == 12
    assert int(first, 16) >= 0
    evaluated = replace(DESCRIPTION, evaluation={"rmse": 0.1})
    assert Bundle.load(write(evaluated, name="b")).manifest.version == first
    assert Bundle.load(write(vectors=-VECTORS, name="c")).manifest.version != first
    scaled = replace(DESCRIPTION, score_scale=1.0)
    assert Bundle.load(write(scaled, name="d")).manifest.version != first


def test_the_checksums_are_those_that_sha256sum_reads(path: Path) -> None:
    lines = (path / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(list(path.iterdir())) - 1
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest


def files(path: Path) -> Sequence[str]:
    return sorted(file.name for file in path.iterdir())


def test_a_bundle_that_lacks_any_file_is_refused_by_its_name(path: Path) -> None:
    for name in files(path):
        content = (path / name).read_bytes()
        (path / name).unlink()
        with pytest.raises(BundleError, match=rf"{name} is missing\.$"):
            Bundle.load(path)
        (path / name).write_bytes(content)


def test_a_bundle_with_one_flipped_bit_is_refused_by_the_name_of_the_file(path: Path) -> None:
    for name in files(path):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        expected = "SHA256SUMS is damaged" if name == "SHA256SUMS" else name
        with pytest.raises(BundleError, match=expected):
            Bundle.load(path)
        (path / name).write_bytes(content)
    Bundle.load(path)


def test_a_bundle_with_a_file_cut_short_is_refused_by_its_name(path: Path) -> None:
    for name in files(path):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(BundleError, match=name):
            Bundle.load(path)
        (path / name).write_bytes(content)


def reseal(path: Path) -> None:
    """Gives a bundle checksums that agree with what it holds now."""
    sums = [line.split("  ")[1] for line in (path / "SHA256SUMS").read_text().splitlines()]
    lines = [f"{hashlib.sha256((path / n).read_bytes()).hexdigest()}  {n}\n" for n in sums]
    (path / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "onnx"}, "does not describe a marquee-fusion-bundle"),
        ({"format_version": 2}, "is of format 2, and this version of Marquee reads format 1"),
        ({"version": "ffffffffffff"}, "but the content of the bundle is version"),
        ({"name": "another"}, "but the content of the bundle is version"),
        ({"metric": "L2"}, "has no usable 'metric': 'L2'"),
        ({"dimension": 0}, "has no usable 'dimension': 0"),
        ({"dimension": True}, "has no usable 'dimension': True"),
        ({"score_scale": float("nan")}, "has no usable 'score_scale': nan"),
        ({"evaluation": {"rmse": "good"}}, "has no usable 'evaluation'"),
        ({"name": ""}, "has no usable 'name': ''"),
        ({"surprise": 1}, "lacks or should not have surprise"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_the_reason(
    path: Path, change: dict[str, object], reason: str
) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    reseal(path)
    with pytest.raises(BundleError, match=rf"manifest\.json {reason}|{reason}"):
        Bundle.load(path)


def test_models_of_another_bundle_are_refused_even_when_the_checksums_were_made_anew(
    path: Path,
) -> None:
    (path / "user.pdiparams").write_bytes(b"of another model")
    reseal(path)
    with pytest.raises(BundleError, match="but the content of the bundle is version"):
        Bundle.load(path)


def test_checksums_cannot_lead_out_of_the_folder(path: Path) -> None:
    with (path / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../../secret\n")
    with pytest.raises(BundleError, match="SHA256SUMS is damaged"):
        Bundle.load(path)


def test_folders_that_are_no_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing or not a folder"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.load(tmp_path)


def test_a_bundle_is_replaced_by_a_later_one_and_nothing_is_left_beside_it(
    write: Write, tmp_path: Path
) -> None:
    first = Bundle.load(write()).manifest.version
    second = Bundle.load(write(vectors=-VECTORS)).manifest.version
    assert first != second
    assert files(tmp_path) == ["bundle", "models"]


def test_a_folder_of_something_else_is_not_replaced(write: Write, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(BundleError, match="is not a bundle, so it is not replaced"):
        write(name="photos")


def test_a_bundle_that_could_not_be_read_back_takes_no_place(write: Write, tmp_path: Path) -> None:
    kept = Bundle.load(write()).manifest.version
    with pytest.raises(BundleError, match="not finite"):
        write(vectors=VECTORS * np.float32("nan"))
    with pytest.raises(BundleError, match=r"float32 \[3, 7\], not float32 \[3, 8\]"):
        write(vectors=VECTORS[:, :7])
    (tmp_path / "models" / "user.json").unlink()
    with pytest.raises(BundleError, match=r"user\.json is missing"):
        write()
    assert Bundle.load(tmp_path / "bundle").manifest.version == kept
    assert files(tmp_path) == ["bundle", "models"]


def test_golden_vectors_are_accepted_within_the_tolerance_and_refused_beyond(path: Path) -> None:
    bundle = Bundle.load(path)

    def users(error: float) -> Callable[[Sequence[User]], Vectors]:
        def embed(records: Sequence[User]) -> Vectors:
            vectors = VECTORS[: len(records)].copy()
            vectors[1, 5] += error
            return vectors

        return embed

    def movies(records: Sequence[Movie]) -> Vectors:
        return VECTORS[: len(records)]

    bundle.verify_golden(users(9e-6), movies)
    for error in (2e-5, float("nan")):
        with pytest.raises(BundleError, match=r"1 of 3 golden user vectors.*gender='M'"):
            bundle.verify_golden(users(error), movies)
    with pytest.raises(BundleError, match="vectors of shape"):
        bundle.verify_golden(users(0), lambda records: movies(records)[:1])
