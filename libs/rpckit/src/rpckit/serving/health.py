"""grpc.health.v1: liveness under the name "", readiness under the full name of a service.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpckit.errors import NotReadyError
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.dispatch import Mount

log = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

POLL_SECONDS = 0.5
"""Pause between readiness checks."""
CHECK_SECONDS = 1.0
"""Timeout of one check; with the pause, a change is seen within 1.5 s."""
WRITE_SECONDS = 5.0
"""Longest that a client of Watch may take to read a status; then its call ends."""


class Health:
    """Updates the statuses of the health service from the readiness checks of the mounts."""

    def __init__(
        self,
        mounts: Sequence[Mount],
        telemetry: Telemetry,
        server_checks: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Create the servicer; every service is NOT_SERVING and "" is SERVING.

        Args:
            mounts: The services, with their readiness checks.
            telemetry: Publishes the readiness.
            server_checks: Checks that hold for all services; each raises NotReadyError.
        """
        self.servicer = HealthServicer()
        self._mounts = mounts
        self._server_checks = server_checks
        self._telemetry = telemetry
        self._reasons: dict[str, str | None] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run all checks once, then repeat them in the background."""
        for mount in self._mounts:
            self.servicer.set(mount.service.full_name, NOT_SERVING)
        await self._check_all()
        self._task = asyncio.create_task(self._poll(), name="health")

    async def stop(self) -> None:
        """Set all services to NOT_SERVING for good; liveness stays until the process ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for mount in self._mounts:
            self._set(mount, "stopping")

    def end_watches(self) -> None:
        """End all calls of Watch, which do not end by themselves."""
        self.servicer.end_watches()

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
                for check in self._server_checks:
                    check()
                await mount.ready()
        except NotReadyError as error:
            reason = str(error)
        except TimeoutError:
            reason = f"the check took longer than {CHECK_SECONDS} s"
        except Exception as error:
            log.exception("readiness check of %s failed", mount.service.full_name)
            reason = f"the check failed: {type(error).__name__}"
        self._set(mount, reason)

    def _set(self, mount: Mount, reason: str | None) -> None:
        name = mount.service.full_name
        if name in self._reasons and self._reasons[name] == reason:
            return
        self._reasons[name] = reason
        if reason is None:
            log.info("%s is ready", name)
        else:
            log.warning("%s is not ready: %s", name, reason)
        self._telemetry.ready(name, reason is None)
        self.servicer.set(name, SERVING if reason is None else NOT_SERVING)


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # ships no types
    """Answers Check and Watch; a client that does not read delays nobody but itself.

    grpcio's own servicer writes to each watcher under a lock that a change of status needs, too.
    """

    def __init__(self) -> None:
        """Create the servicer; "" is SERVING, and no service is known."""
        self._statuses = {"": SERVING}
        self._changed = asyncio.Event()  # replaced at each change, which wakes all who wait for it
        self._watches: set[asyncio.Task[None]] = set()
        self._is_ending = False

    def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """Change the status of a service and wake its watchers."""
        self._statuses[service] = status
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def end_watches(self) -> None:
        """End all calls of Watch with UNAVAILABLE."""
        self._is_ending = True
        for task in self._watches:
            task.cancel()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Return the status of a service; NOT_FOUND if there is no such service."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Send the status of a service now and at each change, until the call ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        self._watches.add(task)
        try:
            await self._send_changes(request.service, context)
        except TimeoutError:
            log.info("a client of Watch does not read; its call ends")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the client does not read")
        except asyncio.CancelledError:
            if self._is_ending:  # grpc.aio would leave the call open
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            raise
        finally:
            self._watches.discard(task)

    async def _send_changes(self, service: str, context: Any) -> None:
        sent = None
        while True:
            changed, status = self._changed, self._statuses.get(service, SERVICE_UNKNOWN)
            if status != sent:
                async with asyncio.timeout(WRITE_SECONDS):
                    await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            await changed.wait()
