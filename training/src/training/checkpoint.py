"""Checkpoints: a run that was killed resumes from the last one with the same results."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import paddle
from numpy.typing import NDArray

from fusion.durable_files import replace_file
from training.errors import TrainingError

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


@dataclass
class Epoch:
    """Figures of one epoch."""

    train_rmse: float
    """RMSE over the batches during training, with attributes hidden."""
    validation_rmse: float
    """RMSE at the end of the epoch, with no attribute hidden."""
    seconds: float
    """Duration, including validation."""
    loading_seconds: float
    """Part of `seconds` that was spent on making batches."""


@dataclass
class Progress:
    """How far a run has come."""

    identity: dict[str, Any]
    """Configuration and data that the run belongs to."""
    epoch: int = 0
    """Current epoch, from 0."""
    step: int = 0
    """Number of completed steps of the current epoch."""
    squared_error: float = 0.0
    """Sum of the squared errors of these steps."""
    seconds: float = 0.0
    """Duration of these steps."""
    loading_seconds: float = 0.0
    """Part of `seconds` that was spent on making batches."""
    history: list[Epoch] = field(default_factory=list)
    """Figures of the completed epochs."""

    @property
    def best_epoch(self) -> int:
        """Epoch with the best validation RMSE, from 0; -1 before the end of the first epoch."""
        scores = [epoch.validation_rmse for epoch in self.history]
        return scores.index(min(scores)) if scores else -1

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Return the progress that `dataclasses.asdict` turned into a dictionary."""
        content = dict(content)
        history = [Epoch(**epoch) for epoch in content.pop("history")]
        return cls(**content, history=history)


def save(
    path: Path,
    progress: Progress,
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    best: Arrays,
) -> None:
    """Write a checkpoint and keep the one before it, whenever the process or the machine stops."""
    groups = {"model": arrays(model), "optimizer": _moments(model, optimizer), "best": best}
    content = {
        f"{group}/{name}": array for group, named in groups.items() for name, array in named.items()
    }
    draft = path.with_name(f"{path.name}.part")
    with draft.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(asdict(progress))), **content)  # type: ignore[arg-type]
    if path.exists():
        _keep_as(path, previous(path))
    replace_file(draft, path)


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def restore(
    path: Path,
    identity: Mapping[str, Any],
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
) -> tuple[Progress, Arrays]:
    """Load a checkpoint, or the one before it if it is damaged, into a model and its optimizer.

    Returns:
        How far the run had come, and the parameters of its best epoch.

    Raises:
        TrainingError: The checkpoint cannot be read, or belongs to another configuration or other
            data.
    """
    try:
        progress, content = _read(path)
    except TrainingError as error:
        if not previous(path).exists():
            raise
        progress, content = _read(previous(path))
        log.warning("%s The one before it takes its place.", error)
    names = progress.identity.keys() | identity.keys()
    changed = [n for n in sorted(names) if progress.identity.get(n) != identity.get(n)]
    if changed:
        raise TrainingError(
            f"{path} belongs to a run with another {', '.join(changed)}; resume with the same "
            "options and data, or start a new run."
        )
    load_arrays(model, _group(content, "model"))
    _load_moments(model, optimizer, _group(content, "optimizer"))
    return progress, _group(content, "best")


def _read(path: Path) -> tuple[Progress, Arrays]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        progress = Progress.from_dict(json.loads(str(content.pop("progress"))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint: {error}.") from error
    return progress, content


def _keep_as(path: Path, other: Path) -> None:
    """Give a file a second name, which then stays when the first one gets another file."""
    link = other.with_name(f"{other.name}.part")
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, link)
    replace_file(link, other)


def arrays(model: paddle.nn.Layer) -> Arrays:
    """Return a copy of the parameters by name."""
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def load_arrays(model: paddle.nn.Layer, values: Arrays) -> None:
    """Set the parameters of a model to those that `arrays` returned."""
    for name, parameter in model.state_dict().items():
        parameter.set_value(values[name])


def _group(content: Arrays, group: str) -> Arrays:
    prefix = f"{group}/"
    return {n.removeprefix(prefix): v for n, v in content.items() if n.startswith(prefix)}


# Paddle names the state of an optimizer after the global names of the parameters, which depend on
# how many models the process has made; a checkpoint uses the parameters' names within the model.


def _moments(model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer) -> Arrays:
    state, moments = optimizer.state_dict(), {}
    for name, parameter in model.named_parameters():
        prefix = f"{parameter.name}_"
        for key, value in state.items():
            if key.startswith(prefix):
                moments[f"{name}:{key.removeprefix(prefix)}"] = value.numpy().copy()
    return moments


def _load_moments(
    model: paddle.nn.Layer, optimizer: paddle.optimizer.Optimizer, moments: Arrays
) -> None:
    global_names = {name: parameter.name for name, parameter in model.named_parameters()}
    state = {}
    for key, value in moments.items():
        name, _, moment = key.partition(":")
        state[f"{global_names[name]}_{moment}"] = paddle.to_tensor(value)
    optimizer.set_state_dict(state)
