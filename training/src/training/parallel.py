"""Several processes that train one model, each on its share of every batch.

They are started by `python -m paddle.distributed.launch` and talk through gloo.
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
    """The processes of a run; one alone by default.

    Attributes:
        rank: Place of this one, from 0.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Workers:
        """Meets the other processes, if this one was started by the launcher."""
        if machine.processes() == 1:
            return cls()
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), paddle.distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[paddle.Tensor]) -> None:
        """Gives every process the sum of all processes' gradients."""
        if self.count > 1:
            for parameter in parameters:
                paddle.distributed.all_reduce(parameter.grad)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Adds up an array over all processes; all get the same bits."""
        if self.count == 1:
            return values
        total = paddle.to_tensor(values)
        paddle.distributed.all_reduce(total)
        return np.asarray(total.numpy())
