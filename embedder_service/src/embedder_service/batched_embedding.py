"""Where rows wait for a tower: what is there when it is free is embedded in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from embedder_service.encoder import PaddleEncoder, TowerName
from fusion.features import Features
from rpckit.coalescer import Coalescer
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.serving.call import Call

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class EmbeddedRows:
    """What a batch gives to one of its requests."""

    data: bytes
    """Vectors of its rows, little-endian float32, row by row: bytes of Vectors.data."""
    predict_seconds: float
    """Time of the whole batch inside the predictor."""


class _RequestedRows(NamedTuple, Generic[Row]):
    rows: Sequence[Row]
    trace: TraceContext


class BatchedEmbedding(Generic[Row]):
    """Embeds the rows of requests that wait at the same time together, in one run of a tower."""

    def __init__(
        self,
        encoder: PaddleEncoder,
        tower: TowerName,
        features: Callable[[Sequence[Row]], Features],
        *,
        max_batch: int,
        max_queue: int,
        telemetry: Telemetry,
    ) -> None:
        """Form the batches of one tower of `encoder`.

        Args:
            encoder: Runs the towers.
            tower: Which of them.
            features: Puts rows together as the tower's inputs.
            max_batch: Most rows in one run.
            max_queue: Most rows waiting; a request beyond is refused.
            telemetry: Where batches, waits and runs are measured.
        """
        self._encoder = encoder
        self._tower: TowerName = tower
        self._features = features
        self._row_bytes = encoder.bundle.manifest.dimension * 4
        self._stage = telemetry.stage("paddle_predict")
        self._coalescer: Coalescer[_RequestedRows[Row], EmbeddedRows] = Coalescer(
            self._embed_batch,
            name=f"embed_{tower}s",
            max_batch=max_batch,
            max_in_flight=1,  # one predictor
            max_queue=max_queue,
            weigh=lambda request: len(request.rows),
            observer=telemetry.coalescer(f"embed_{tower}s"),
        )

    async def embed(self, rows: Sequence[Row], call: Call) -> tuple[EmbeddedRows, float]:
        """Embed the rows of one request.

        Args:
            rows: Records, looked up. Without any there is nothing to wait for.
            call: The call that they belong to.

        Returns:
            Their vectors, and the seconds that they waited for the predictor.

        Raises:
            OverloadedError: The queue is full.
            DeadlineError: The deadline passed in the queue.
        """
        if not rows:
            return EmbeddedRows(b"", 0.0), 0.0
        outcome = await self._coalescer.submit(
            _RequestedRows(rows, call.trace), deadline=call.deadline
        )
        return outcome.result, outcome.queue_seconds

    async def close(self) -> None:
        """Finish what is queued."""
        await self._coalescer.close()

    async def _embed_batch(
        self, batch: Sequence[_RequestedRows[Row]]
    ) -> list[EmbeddedRows | Exception]:
        features = self._features([row for request in batch for row in request.rows])
        with self._stage.measure(*(request.trace for request in batch)):
            started = time.monotonic()
            vectors = self._encoder.embed(self._tower, features)
            seconds = time.monotonic() - started
        data = vectors.astype("<f4", copy=False).tobytes()
        answers: list[EmbeddedRows | Exception] = []
        begin = 0
        for request in batch:
            end = begin + len(request.rows) * self._row_bytes
            answers.append(EmbeddedRows(data[begin:end], seconds))
            begin = end
        return answers
