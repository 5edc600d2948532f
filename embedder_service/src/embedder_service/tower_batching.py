"""Batches of a tower: what has arrived when the predictor is free is embedded together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from embedder_service.encoder import Kind, PaddleEncoder
from fusion.features import Features
from rpckit.coalescer import Coalescer
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.call import Call

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Embedded:
    """One request's part of a batch."""

    data: bytes
    """Its vectors, little-endian float32, row by row: bytes of Vectors.data."""
    predict_seconds: float
    """Time of the whole batch inside the predictor."""


class _Item(NamedTuple, Generic[Row]):
    rows: Sequence[Row]
    trace: TraceContext


class TowerQueue(Generic[Row]):
    """The queue in front of one tower."""

    def __init__(
        self,
        encoder: PaddleEncoder,
        kind: Kind,
        features: Callable[[Sequence[Row]], Features],
        *,
        max_batch: int,
        max_queue: int,
        telemetry: Telemetry,
    ) -> None:
        """Queue for one tower of `encoder`.

        Args:
            encoder: Runs the towers.
            kind: Which of them.
            features: Puts rows together as the tower's inputs.
            max_batch: Rows of one run at most.
            max_queue: Rows that wait at most.
            telemetry: Where batches, waits and runs are measured.
        """
        self._encoder = encoder
        self._kind: Kind = kind
        self._features = features
        self._row_bytes = encoder.bundle.manifest.dimension * 4
        self._stage = telemetry.stage("paddle_predict")
        self._coalescer: Coalescer[_Item[Row], Embedded] = Coalescer(
            self._run,
            name=f"embed_{kind}s",
            max_batch=max_batch,
            max_in_flight=1,  # one predictor
            max_queue=max_queue,
            weigh=lambda item: len(item.rows),
            observer=telemetry.coalescer(f"embed_{kind}s"),
        )

    async def embed(self, rows: Sequence[Row], call: Call) -> tuple[Embedded, float]:
        """Embed the rows of one request.

        Args:
            rows: Records, looked up; at least one.
            call: The call that they belong to.

        Returns:
            Their vectors, and the seconds that they waited for the predictor.

        Raises:
            OverloadedError: The queue is full.
            DeadlineError: The deadline passed in the queue.
        """
        outcome = await self._coalescer.submit(_Item(rows, call.trace), deadline=call.deadline)
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is queued."""
        await self._coalescer.close()

    async def _run(self, batch: Sequence[_Item[Row]]) -> list[Embedded | Exception]:
        features = self._features([row for item in batch for row in item.rows])
        with self._stage.measure(*(item.trace for item in batch)):
            started = time.monotonic()
            vectors = self._encoder.embed(self._kind, features)
            seconds = time.monotonic() - started
        data = vectors.astype("<f4", copy=False).tobytes()
        answers: list[Embedded | Exception] = []
        begin = 0
        for item in batch:
            end = begin + len(item.rows) * self._row_bytes
            answers.append(Embedded(data[begin:end], seconds))
            begin = end
        return answers
