"""Batches of a tower: what arrives while the predictor works is embedded together next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from embedder_service.encoder import Kind, PaddleEncoder, stack
from fusion.bundle import Vectors
from fusion.features import Features
from rpckit.call import Call
from rpckit.coalescer import Coalescer
from rpckit.telemetry import Telemetry, TraceContext


class _Item(NamedTuple):
    features: Features
    trace: TraceContext


class Rows(NamedTuple):
    """One request's part of a batch."""

    vectors: Vectors
    """float32 [n, dimension]."""
    predict_seconds: float
    """Time of the whole batch inside the predictor."""


class TowerQueue:
    """The queue in front of one tower."""

    def __init__(
        self,
        encoder: PaddleEncoder,
        kind: Kind,
        *,
        max_batch: int,
        max_queue: int,
        telemetry: Telemetry,
    ) -> None:
        """Queue for one tower of `encoder`.

        Args:
            encoder: Runs the towers.
            kind: Which of them.
            max_batch: Rows of one run at most.
            max_queue: Rows that wait at most.
            telemetry: Where batches, waits and runs are measured.
        """
        self._encoder = encoder
        self._kind: Kind = kind
        self._stage = telemetry.stage("paddle_predict")
        self._coalescer = Coalescer(
            self._run,
            name=f"embed_{kind}s",
            max_batch=max_batch,
            max_in_flight=1,  # one predictor
            max_queue=max_queue,
            weigh=lambda item: _rows(item.features),
            observer=telemetry.coalescer(f"embed_{kind}s"),
        )

    async def embed(self, features: Features, call: Call) -> tuple[Rows, float]:
        """Embed the rows of one request.

        Args:
            features: The tower's inputs, at least one row.
            call: The call that they belong to.

        Returns:
            The rows, and the seconds that they waited for the predictor.

        Raises:
            OverloadedError: The queue is full.
            DeadlineError: The deadline passed in the queue.
        """
        outcome = await self._coalescer.submit(_Item(features, call.trace), deadline=call.deadline)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is queued."""
        await self._coalescer.close()

    async def _run(self, batch: Sequence[_Item]) -> list[Rows | Exception]:
        with self._stage.measure(*(item.trace for item in batch)):
            embedded = await self._encoder.embed(
                self._kind, stack([item.features for item in batch])
            )
        answers: list[Rows | Exception] = []
        begin = 0
        for item in batch:
            end = begin + _rows(item.features)
            answers.append(Rows(embedded.vectors[begin:end], embedded.seconds))
            begin = end
        return answers


def _rows(features: Features) -> int:
    return len(next(iter(features.values())))
