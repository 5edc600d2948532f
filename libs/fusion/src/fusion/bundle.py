"""The fusion bundle: everything that training hands to serving, in one folder.

    manifest.json      what the model is: `Manifest`
    features.json      the `FeatureEncoder`: vocabularies and title length
    user.json  user.pdiparams  movie.json  movie.pdiparams
                       the towers, Paddle inference models; opaque here
    golden.json  golden_users.npy  golden_movies.npy
                       raw records and the vectors that the model computed for them
    SHA256SUMS         checksum of every other file, as `sha256sum -c SHA256SUMS` reads it

A bundle is written as a whole or not at all, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fusion.durable_files import replace_folder
from fusion.features import FeatureEncoder
from fusion.manifest import Description, Manifest
from fusion.records import Movie, User

TOLERANCE = 1e-5
"""Largest allowed difference between a coordinate of a golden vector and of a live one."""

MODEL_FILES = ("user.json", "user.pdiparams", "movie.json", "movie.pdiparams")

_MANIFEST, _FEATURES, _SUMS = "manifest.json", "features.json", "SHA256SUMS"
_GOLDEN, _GOLDEN_USERS, _GOLDEN_MOVIES = "golden.json", "golden_users.npy", "golden_movies.npy"
_CONTENT_FILES = (*MODEL_FILES, _FEATURES, _GOLDEN, _GOLDEN_USERS, _GOLDEN_MOVIES)

Vectors = NDArray[np.float32]


class BundleError(Exception):
    """A bundle cannot be used or written; the message is a sentence that names the file."""


@dataclass(frozen=True)
class Golden:
    """Records and the vectors that the model computed for them when it was exported."""

    users: tuple[User, ...]
    """Raw records with every combination of unknown attributes."""
    movies: tuple[Movie, ...]
    """Raw records with every combination of unknown attributes."""
    user_vectors: Vectors
    """float32 [len(users), dimension]."""
    movie_vectors: Vectors
    """float32 [len(movies), dimension]."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file has been checked."""

    path: Path
    """Its folder."""
    manifest: Manifest
    """What the model is."""
    encoder: FeatureEncoder
    """Turns records into inputs of the towers."""
    golden: Golden
    """Records and the vectors that the towers must give for them."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a bundle and check all of its files.

        Raises:
            BundleError: The bundle is missing, incomplete, damaged, not a fusion bundle, or of a
                format that this version does not know.
        """
        manifest = _read_manifest(path)
        sums = _read_sums(path)
        for name, expected in sums.items():
            if _sha256(path, name) != expected:
                raise BundleError(f"{path / name} is damaged: its SHA-256 is not that of {_SUMS}.")
        version = _version(manifest, sums)
        if manifest.version != version:
            raise BundleError(
                f"{path / _MANIFEST} names version {manifest.version!r}, but the content of the "
                f"bundle is version {version!r}."
            )
        try:
            encoder = FeatureEncoder.from_dict(_read_json(path, _FEATURES))
        except ValueError as error:
            raise BundleError(f"{path / _FEATURES} holds no feature encoder: {error}.") from error
        return cls(path, manifest, encoder, _read_golden(path, manifest.dimension))

    def verify_golden(
        self,
        embed_users: Callable[[Sequence[User]], Vectors],
        embed_movies: Callable[[Sequence[Movie]], Vectors],
    ) -> None:
        """Check that a live model gives the golden vectors, within `TOLERANCE`.

        Args:
            embed_users: Turns raw records into float32 [n, dimension], by the same steps as for a
                request.
            embed_movies: The same for movies.

        Raises:
            BundleError: A vector differs; the message names the record.
        """
        golden = self.golden
        _compare("user", golden.users, golden.user_vectors, embed_users(golden.users))
        _compare("movie", golden.movies, golden.movie_vectors, embed_movies(golden.movies))


def check_replaceable(path: Path) -> None:
    """Check that nothing but a bundle is lost when a bundle is written to a path.

    Raises:
        BundleError: `path` exists and is not a bundle.
    """
    if path.exists() and not (path / _MANIFEST).is_file():
        raise BundleError(f"{path} already exists and is not a bundle, so it is not replaced.")


def write_bundle(
    path: Path,
    *,
    description: Description,
    encoder: FeatureEncoder,
    models: Path,
    golden: Golden,
) -> Manifest:
    """Write a bundle in a temporary folder and move it into place once it is complete and on disk.

    Args:
        path: Folder to write. An existing bundle is replaced.
        description: What the model is.
        encoder: The encoder that the model was trained with.
        models: Folder that holds `MODEL_FILES`.
        golden: Records and the vectors that these models give for them.

    Returns:
        The manifest, with the version.

    Raises:
        BundleError: `path` exists and is not a bundle, or a model file is missing.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        for name in MODEL_FILES:
            if not (models / name).is_file():
                raise BundleError(f"{models / name} is missing.")
            shutil.copyfile(models / name, draft / name)
        _write_json(draft / _FEATURES, encoder.to_dict())
        records = {
            "users": [user._asdict() for user in golden.users],
            "movies": [movie._asdict() for movie in golden.movies],
        }
        _write_json(draft / _GOLDEN, records)
        np.save(draft / _GOLDEN_USERS, golden.user_vectors.astype("<f4"), allow_pickle=False)
        np.save(draft / _GOLDEN_MOVIES, golden.movie_vectors.astype("<f4"), allow_pickle=False)
        sums = {name: _sha256(draft, name) for name in _CONTENT_FILES}
        manifest = Manifest(**asdict(description), version=_version(description, sums))
        _write_json(draft / _MANIFEST, manifest.to_dict())
        sums[_MANIFEST] = _sha256(draft, _MANIFEST)
        lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
        (draft / _SUMS).write_text("".join(lines))
        Bundle.load(draft)  # a bundle that cannot be read must not replace one that can
        replace_folder(draft, path)
    return manifest


def _version(description: Description, sums: Mapping[str, str]) -> str:
    content = [
        description.name,
        description.objective,
        description.dimension,
        description.metric,
        description.score_scale,
        [[name, sums[name]] for name in _CONTENT_FILES],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _read_manifest(path: Path) -> Manifest:
    if not path.is_dir():
        raise BundleError(f"{path} is missing or not a folder, so there is no bundle.")
    try:
        return Manifest.from_dict(_read_json(path, _MANIFEST))
    except ValueError as error:
        raise BundleError(f"{path / _MANIFEST} {error}.") from error


def _read_sums(path: Path) -> dict[str, str]:
    sums = {}
    for line in _read_bytes(path, _SUMS).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
    expected = {*_CONTENT_FILES, _MANIFEST}
    # Exact equality, so that no line can lead to a file outside the folder.
    if sums.keys() != expected:
        names = ", ".join(sorted(sums.keys() ^ expected))
        raise BundleError(f"{path / _SUMS} is damaged: it lacks or should not have {names}.")
    return sums


def _read_golden(path: Path, dimension: int) -> Golden:
    try:
        content = _read_json(path, _GOLDEN)
        users = tuple(_user(record) for record in content["users"])
        movies = tuple(
            Movie(**{**record, "genres": tuple(record["genres"])}) for record in content["movies"]
        )
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path / _GOLDEN} holds no golden records: {error!r}.") from error
    if not users or not movies:
        raise BundleError(f"{path / _GOLDEN} holds no golden records, so nothing can be verified.")
    return Golden(
        users,
        movies,
        _read_vectors(path, _GOLDEN_USERS, (len(users), dimension)),
        _read_vectors(path, _GOLDEN_MOVIES, (len(movies), dimension)),
    )


def _user(record: dict[str, Any]) -> User:
    user = User(**record)  # JSON has lists for tuples
    return user._replace(
        liked_movie_ids=tuple(user.liked_movie_ids),
        disliked_movie_ids=tuple(user.disliked_movie_ids),
    )


def _read_vectors(path: Path, name: str, shape: tuple[int, int]) -> Vectors:
    try:
        vectors = np.load(path / name, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"{path / name} is not a numpy array: {error}.") from error
    if vectors.shape != shape or vectors.dtype != np.float32:
        raise BundleError(
            f"{path / name} is {vectors.dtype} {list(vectors.shape)}, not float32 {list(shape)}."
        )
    if not np.isfinite(vectors).all():
        raise BundleError(f"{path / name} holds values that are not finite.")
    return vectors  # type: ignore[no-any-return]  # np.load promises nothing


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads(_read_bytes(path, name))
    except ValueError as error:
        raise BundleError(f"{path / name} is damaged: it is not JSON ({error}).") from error


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path / name} is missing.") from None
    except OSError as error:
        raise BundleError(f"{path / name} cannot be read: {error.strerror}.") from error


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path, name: str) -> str:
    return hashlib.sha256(_read_bytes(path, name)).hexdigest()


def _compare(
    kind: str, records: Sequence[User | Movie], expected: Vectors, actual: Vectors
) -> None:
    if actual.shape != expected.shape:
        raise BundleError(
            f"The golden {kind}s gave vectors of shape {list(actual.shape)}, not "
            f"{list(expected.shape)}."
        )
    difference = np.abs(actual - expected).max(axis=1)
    # Negated so that NaN counts as a difference.
    bad = np.flatnonzero(~(difference <= TOLERANCE))
    if bad.size:
        row = int(bad[0])
        raise BundleError(
            f"The live model does not give {bad.size} of {len(records)} golden {kind} vectors; the "
            f"first is that of {records[row]}, off by {difference[row]:.2g} (limit {TOLERANCE:g})."
        )
