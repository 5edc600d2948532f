"""grpc.health.v1 and reflection inside Envoy, by the servicers that grpc.aio uses as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from google.rpc import code_pb2, status_pb2
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from rpckit.serving.dispatch import Authorizer
from rpckit.serving.health import HealthServicer
from rpckit.serving.reflection import (
    REFLECTION_METHOD,
    REFLECTION_SERVICES,
    reflection_servicer,
)
from rpckit_envoy.exchange import Exchange


class HealthAndReflection:
    """The methods that every server has besides those of its services."""

    def __init__(
        self,
        health_servicer: HealthServicer,
        authorizer: Authorizer,
        reflected: Sequence[str] | None,
    ) -> None:
        """Create the methods.

        Args:
            health_servicer: Answers health checks; they need no token.
            authorizer: Checks the callers of reflection.
            reflected: Full names of the services that reflection lists. None: no reflection.
        """
        self._health = health_servicer
        self._authorizer = authorizer
        self.methods: dict[str, Callable[[Exchange], Awaitable[None]]] = {
            f"/{health.SERVICE_NAME}/Check": self._check,
            f"/{health.SERVICE_NAME}/Watch": self._watch,
        }
        if reflected is not None:
            self._reflection = reflection_servicer(reflected)
            for name in REFLECTION_SERVICES:
                self.methods[f"/{name}/{REFLECTION_METHOD}"] = self._reflect

    async def _check(self, exchange: Exchange) -> None:
        request = await exchange.request(HealthCheckRequest)
        response = await self._health.Check(request, exchange)
        await exchange.answer(response.SerializeToString())

    async def _watch(self, exchange: Exchange) -> None:
        # Ends only with an exception: the caller disconnects, or the host ends the stream.
        await self._health.Watch(await exchange.request(HealthCheckRequest), exchange)

    async def _reflect(self, exchange: Exchange) -> None:
        caller = self._authorizer.authorize(exchange.metadata, "read")
        requests = exchange.requests(ServerReflectionRequest, caller)
        async for response in self._reflection.ServerReflectionInfo(requests, exchange):
            await exchange.write(response)
        await exchange.finish(status_pb2.Status(code=code_pb2.OK))
