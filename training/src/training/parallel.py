"""Data-parallel training: several processes train one model, each on its share of every batch.

`python -m paddle.distributed.launch` starts them, and they communicate through gloo.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.distributed
from numpy.typing import NDArray

from training import machine


@dataclass(frozen=True)
class Workers:
    """The processes of a run; by default there is only this one."""

    rank: int = 0
    """Rank of this process, from 0."""
    count: int = 1
    """Number of processes."""

    @classmethod
    def join(cls) -> Workers:
        """Connect to the other processes, if the launcher started this one."""
        if machine.processes() == 1:
            return cls()
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), paddle.distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Replace the gradients of every process by the sum over all processes."""
        if self.count > 1:
            for parameter in parameters:
                paddle.distributed.all_reduce(parameter.grad)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of an array over all processes, the same bits in each."""
        if self.count == 1:
            return values
        total = paddle.to_tensor(values)
        paddle.distributed.all_reduce(total)
        return np.asarray(total.numpy())
