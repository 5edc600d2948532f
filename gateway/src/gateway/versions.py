"""Which model and which version of the index would answer now, found out in the background."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from marquee.embedder.v1 import embedder_pb2
from marquee.search.v1 import search_pb2
from rpckit.calling.channel import UnaryCall
from rpckit.errors import ServiceError
from rpckit.observing.tracing.context import TraceContext

log = logging.getLogger(__name__)


class Versions(NamedTuple):
    """What an answer follows from, besides the request."""

    model_version: str
    index_version: str
    """GetIndexVersionResponse.index_version."""


class CurrentVersions:
    """Asks the two services again and again, and forgets what they said a while ago.

    Only what they say when they are asked counts. An answer of theirs carries versions too, but one
    that was long under way would bring back what is over.
    """

    def __init__(
        self,
        get_model: UnaryCall[embedder_pb2.GetModelRequest, embedder_pb2.GetModelResponse],
        get_index_version: UnaryCall[
            search_pb2.GetIndexVersionRequest, search_pb2.GetIndexVersionResponse
        ],
        *,
        fresh: float,
    ) -> None:
        """Know nothing yet.

        Args:
            get_model: EmbedderService.GetModel.
            get_index_version: SearchService.GetIndexVersion.
            fresh: Seconds after which a service must have been asked again. They are asked four
                times as often.
        """
        self._get_model = get_model
        self._get_index_version = get_index_version
        self._fresh = fresh
        self._versions: Versions | None = None
        self._asked = -math.inf  # when, in seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask until the context is left."""
        task = asyncio.create_task(self._follow(), name="follow model and index")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def get(self) -> Versions | None:
        """Return the versions; None while they are not known.

        They were current less than `fresh` ago, as far as the service that was asked knew.
        """
        return self._versions if time.monotonic() - self._asked < self._fresh else None

    async def _follow(self) -> None:
        while True:
            began = time.monotonic()
            versions = await self._ask()
            if versions != self._versions:
                log.debug("kept answers count for %s", versions)
            self._versions, self._asked = versions, began
            await asyncio.sleep(self._fresh / 4)

    async def _ask(self) -> Versions | None:
        trace = TraceContext()
        try:
            model, index = await asyncio.gather(
                self._get_model(embedder_pb2.GetModelRequest(), timeout=self._fresh, trace=trace),
                self._get_index_version(
                    search_pb2.GetIndexVersionRequest(), timeout=self._fresh, trace=trace
                ),
            )
        except ServiceError:
            return None
        except Exception:  # a defect here must not end the following
            log.exception("cannot follow the model and the index")
            return None
        if not index.index_version:
            return None
        return Versions(model.version, index.index_version)
