"""What the deployment files are held against: the services' own settings classes and contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

from embedder_service.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from rpckit.settings.loading import load
from rpckit.settings.server import ServerSettings
from search_service.settings import SearchSettings

SETTINGS: dict[str, type[ServerSettings]] = {
    "embedder": EmbedderSettings,
    "search": SearchSettings,
    "gateway": GatewaySettings,
}

LoadSettings = Callable[[str, Mapping[str, str]], ServerSettings]


@pytest.fixture
def load_settings(monkeypatch: pytest.MonkeyPatch) -> LoadSettings:
    """Loads a service's settings from exactly these variables, as its process would."""

    def load_from(service: str, variables: Mapping[str, str]) -> ServerSettings:
        prefix = f"MARQUEE_{service.upper()}_"
        for name in [name for name in os.environ if name.startswith(prefix)]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            assert name.startswith((prefix, "MARQUEE_PROBE_")) or not name.startswith("MARQUEE_")
            monkeypatch.setenv(name, value)
        return load(SETTINGS[service], [])

    return load_from


@pytest.fixture(scope="session")
def service_names() -> set[str]:
    """Full names of all gRPC services, which are what a readiness probe may ask for."""
    files = (embedder_pb2, search_pb2, index_pb2, recommender_pb2)
    return {
        service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()
    }
