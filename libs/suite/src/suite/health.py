"""Whether a service is ready, by gRPC's health protocol."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpckit.probe import check, open_channel
from rpckit.settings.client import ClientSettings

_ATTEMPT_SECONDS = 1.0


def is_serving(endpoint: ClientSettings, service: str) -> bool:
    """Return whether a service is ready; uses a connection of its own.

    Args:
        endpoint: How the server is called.
        service: Full name of a gRPC service; "" checks that the server is alive.
    """
    with open_channel(
        endpoint.target,
        ca=endpoint.tls_ca,
        cert=endpoint.tls_cert,
        key=endpoint.tls_key,
        server_name=endpoint.tls_server_name,
    ) as channel:
        return check(channel, service, timeout=_ATTEMPT_SECONDS) == "SERVING"


async def wait_until_serving(channel: grpc.aio.Channel, service: str, seconds: float) -> None:
    """Wait until a service is ready; other watchers are notified at the same time.

    Args:
        channel: Channel to the server.
        service: Full name of the gRPC service.
        seconds: Longest time to wait.

    Raises:
        grpc.aio.AioRpcError: The server cannot be reached, or it took too long.
    """
    request = health_pb2.HealthCheckRequest(service=service)
    watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=seconds)
    async for response in watch:
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            watch.cancel()
            return
