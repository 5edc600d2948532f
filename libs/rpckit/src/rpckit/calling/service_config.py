"""gRPC service config of a client channel: load balancing, retries, outlier detection, health.

https://github.com/grpc/grpc/blob/master/doc/service_config.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""For idempotent methods. The caller's deadline covers all attempts and the pauses in between."""

RETRY_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}
"""A failure takes a token, a success returns a tenth of one, and retries stop while fewer than half
are left. So retries do not triple the load of a service that is down."""

ROUND_ROBIN: list[dict[str, object]] = [{"round_robin": {}}]

OUTLIER_DETECTION = {
    "interval": "5s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "120s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 90, "minimumHosts": 2, "requestVolume": 20},
    "childPolicy": ROUND_ROBIN,
}
"""Ejects a replica that reports to be ready but fails nearly every call. The threshold is high
because every status but OK counts as a failure: bad requests and overload must eject nobody."""


def service_config(services: Sequence[ServiceDescriptor]) -> str:
    """Return the service config, in JSON, of a channel to `services`.

    Calls go in turn to all replicas on which the health service reports the first service as
    SERVING. A server without a health service counts as SERVING.
    """
    config: dict[str, object] = {
        "loadBalancingConfig": [{"outlier_detection_experimental": OUTLIER_DETECTION}],
        "retryThrottling": RETRY_THROTTLING,
    }
    retried = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if is_idempotent(method)
    ]
    if services:
        config["healthCheckConfig"] = {"serviceName": services[0].full_name}
    if retried:
        config["methodConfig"] = [{"name": retried, "retryPolicy": RETRY_POLICY}]
    return json.dumps(config)


def is_idempotent(method: MethodDescriptor) -> bool:
    """Tell whether the contract marks a method as safe to call twice (`idempotency_level`)."""
    options = method.GetOptions()
    return bool(options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN)
