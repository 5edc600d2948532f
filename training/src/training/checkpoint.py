"""What a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import paddle
from numpy.typing import NDArray

from training.errors import TrainingError

Arrays = dict[str, NDArray[Any]]


@dataclass
class Epoch:
    """Figures of one epoch.

    Attributes:
        train_rmse: Over its batches as they came, with attributes hidden.
        validation_rmse: At its end, with all that is known.
        seconds: That it took, validation included.
        loading_seconds: Of these, spent on making batches.
    """

    train_rmse: float
    validation_rmse: float
    seconds: float
    loading_seconds: float


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        identity: Configuration and data that the run belongs to.
        epoch: The current one, from 0.
        step: Steps of it that are done.
        squared_error: Sum over these steps.
        seconds: That these steps took.
        loading_seconds: Of these, spent on making batches.
        history: Figures of the epochs that are done.
    """

    identity: dict[str, Any]
    epoch: int = 0
    step: int = 0
    squared_error: float = 0.0
    seconds: float = 0.0
    loading_seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation RMSE, from 0; -1 before the first has ended."""
        scores = [epoch.validation_rmse for epoch in self.history]
        return scores.index(min(scores)) if scores else -1

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Self:
        history = [Epoch(**epoch) for epoch in content.pop("history")]
        return cls(**content, history=history)


def save(
    path: Path,
    progress: Progress,
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
    best: Arrays,
) -> None:
    """Writes a checkpoint; a kill in the middle leaves the one before."""
    parts = {"model": arrays(model), "optimizer": _moments(model, optimizer), "best": best}
    content = {
        f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()
    }
    draft = path.with_name(f"{path.name}.part")
    with draft.open("wb") as file:
        np.savez(file, progress=np.array(json.dumps(asdict(progress))), **content)  # type: ignore[arg-type]
    draft.replace(path)


def restore(
    path: Path,
    identity: Mapping[str, Any],
    model: paddle.nn.Layer,
    optimizer: paddle.optimizer.Optimizer,
) -> tuple[Progress, Arrays]:
    """Brings model and optimizer to where a checkpoint was written.

    Returns:
        How far the run had come, and the parameters of its best epoch.

    Raises:
        TrainingError: The checkpoint cannot be read, or is of other choices or other data.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        progress = Progress._of(json.loads(str(content.pop("progress"))))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise TrainingError(f"{path} is not a checkpoint that can be read: {error}.") from error
    names = progress.identity.keys() | identity.keys()
    changed = [n for n in sorted(names) if progress.identity.get(n) != identity.get(n)]
    if changed:
        raise TrainingError(
            f"{path} is of a run with another {', '.join(changed)}; resume with the same choices "
            "and data, or start anew."
        )
    load_arrays(model, _part(content, "model"))
    _load_moments(model, optimizer, _part(content, "optimizer"))
    return progress, _part(content, "best")


def arrays(model: paddle.nn.Layer) -> Arrays:
    """A copy of the parameters by name."""
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def load_arrays(model: paddle.nn.Layer, values: Arrays) -> None:
    """Gives a model the parameters that `arrays` took."""
    for name, parameter in model.state_dict().items():
        parameter.set_value(values[name])


def _part(content: Arrays, part: str) -> Arrays:
    prefix = f"{part}/"
    return {n.removeprefix(prefix): v for n, v in content.items() if n.startswith(prefix)}


# Paddle calls what an optimizer remembers by a parameter's global name, which counts up as models
# are made in a process; a checkpoint calls it by the parameter's place in the model.


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
