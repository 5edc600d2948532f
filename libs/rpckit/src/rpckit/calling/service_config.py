"""How a client's channel spreads, retries and withholds calls, as gRPC's service config.

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
"""For idempotent methods; a caller's deadline covers all attempts and the pauses between them."""

RETRY_THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}
"""A failure takes a token, a success gives a tenth back; retries stop while half are gone. So a
service that is down gets no threefold load."""

ROUND_ROBIN: list[dict[str, object]] = [{"round_robin": {}}]

OUTLIER_DETECTION = {
    "interval": "5s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "120s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 90, "minimumHosts": 2, "requestVolume": 20},
    "childPolicy": ROUND_ROBIN,
}
"""Takes a replica out that says that it is ready and fails nearly every call. Only then: any status
but OK counts as a failure, and where the callers or too many of them are the cause, taking replicas
out would make it worse."""


def service_config(services: Sequence[ServiceDescriptor]) -> str:
    """Return the JSON for a channel to `services`.

    Calls go round all replicas of which the health service says that the first service is SERVING;
    a server without a health service counts as SERVING.
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
    """Tell whether the contract says that calling a method twice is the same as once."""
    options = method.GetOptions()
    return bool(options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN)
