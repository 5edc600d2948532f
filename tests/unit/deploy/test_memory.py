"""The memory limits of the manifests: what a service is measured to need, and what it bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ByteSize, TypeAdapter
from tests.unit.deploy.conftest import SETTINGS

from rpckit.settings.types import MIB

BASE = Path(__file__).parents[3] / "deploy/k8s/base"

BASE_MIB = {"embedder": 481, "search": 447, "gateway": 189}
"""Resident memory of both processes on Envoy under load, with MovieLens-1M; search with Milvus Lite
inside, which a Milvus server takes away. docs/deployment.md says how it was measured."""
REPLICA_BYTES_PER_MOVIE = 810
"""Of the index in memory, measured with 200,000 movies and vectors of 64 dimensions."""
COPIES_OF_REQUESTS = 3
"""What Envoy still holds of a request, its chunks, and the request that is made of them."""
PARSED_BYTES_PER_BYTE = 32
"""Of a request that is all empty submessages; it is parsed and refused in one step of the loop."""
MESSAGES_AT_WORK = 16
"""Requests of full size with their answers, that are worked on at once."""


def needed_bytes(service: str) -> int:
    """Return what a service with its default settings may need."""
    settings = SETTINGS[service]()
    needed = BASE_MIB[service] * MIB
    needed += COPIES_OF_REQUESTS * settings.max_unfinished_bytes
    needed += PARSED_BYTES_PER_BYTE * settings.max_receive_message_bytes
    needed += MESSAGES_AT_WORK * (
        settings.max_receive_message_bytes + settings.max_send_message_bytes
    )
    return needed + REPLICA_BYTES_PER_MOVIE * getattr(settings, "resident_limit", 0)


def memory(service: str, kind: str) -> int:
    """Return the memory that a pod reserves (`requests`) or may use at most (`limits`)."""
    manifests = yaml.safe_load_all((BASE / f"{service}.yaml").read_text(encoding="utf-8"))
    deployment = next(made for made in manifests if made["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    text = container["resources"][kind]["memory"]
    return TypeAdapter(ByteSize).validate_python(f"{text}B")


@pytest.mark.parametrize("service", SETTINGS)
def test_a_pod_may_use_what_its_bounds_add_up_to_and_little_more(service: str) -> None:
    needed = needed_bytes(service)
    assert needed <= memory(service, "limits") < needed + 192 * MIB


@pytest.mark.parametrize("service", SETTINGS)
def test_a_pod_reserves_what_its_service_needs_without_attacks(service: str) -> None:
    assert memory(service, "requests") >= BASE_MIB[service] * MIB
