"""grpc.health.v1: liveness under the name "", readiness under the full name of a service.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from rpckit.errors import NotReadyError
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount

log = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

POLL_SECONDS = 0.5
"""Pause between readiness checks."""
CHECK_SECONDS = 1.0
"""Timeout of one check; with the pause, a change is seen within 1.5 s."""


class Health:
    """Updates the statuses of the health service from the readiness checks of the mounts."""

    def __init__(self, mounts: Sequence[Mount], telemetry: Telemetry) -> None:
        """Create the servicer; every service is NOT_SERVING and "" is SERVING."""
        self.servicer = _Servicer()
        self._mounts = mounts
        self._telemetry = telemetry
        self._reasons: dict[str, str | None] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run all checks once, then repeat them in the background."""
        for mount in self._mounts:
            await self.servicer.set(mount.service.full_name, NOT_SERVING)
        await self._check_all()
        self._task = asyncio.create_task(self._poll(), name="health")

    async def stop(self) -> None:
        """Set all services to NOT_SERVING for good; liveness stays until the process ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for mount in self._mounts:
            await self._set(mount, "stopping")

    def end_watches(self) -> None:
        """End all calls of Watch, which do not end by themselves."""
        self.servicer.is_ending = True
        for task in self.servicer.watches:
            task.cancel()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._check_all()

    async def _check_all(self) -> None:
        await asyncio.gather(*(self._check(mount) for mount in self._mounts))

    async def _check(self, mount: Mount) -> None:
        reason = None
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await mount.ready()
        except NotReadyError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"the check took longer than {CHECK_SECONDS} s"
        except Exception as error:
            log.exception("readiness check of %s failed", mount.service.full_name)
            reason = f"the check failed: {type(error).__name__}"
        await self._set(mount, reason)

    async def _set(self, mount: Mount, reason: str | None) -> None:
        name = mount.service.full_name
        if name in self._reasons and self._reasons[name] == reason:
            return
        self._reasons[name] = reason
        if reason is None:
            log.info("%s is ready", name)
        else:
            log.warning("%s is not ready: %s", name, reason)
        self._telemetry.ready(name, reason is None)
        await self.servicer.set(name, SERVING if reason is None else NOT_SERVING)


class _Servicer(HealthServicer):  # type: ignore[misc]
    """The servicer of grpcio, which also tracks the calls of Watch so that they can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: set[asyncio.Task[None]] = set()
        self.is_ending = False

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        self.watches.add(task)
        try:
            await super().Watch(request, context)
        except asyncio.CancelledError:
            if self.is_ending:  # grpc.aio would leave the call open
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            raise
        finally:
            self.watches.discard(task)
