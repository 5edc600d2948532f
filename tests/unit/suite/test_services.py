"""What the library says of the services is what they say of themselves."""

from __future__ import annotations

import pytest

from embedder_service.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import index_pb2, search_pb2
from rpckit.settings.server import ServerSettings
from search_service.settings import SearchSettings
from suite.services import (
    EMBEDDER,
    EMBEDDER_SERVICE,
    GATEWAY,
    INDEX_SERVICE,
    RECOMMENDER_SERVICE,
    SEARCH,
    SEARCH_SERVICE,
    Service,
)


@pytest.mark.parametrize(
    ("service", "settings"),
    [(EMBEDDER, EmbedderSettings), (SEARCH, SearchSettings), (GATEWAY, GatewaySettings)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_ports_and_variables_are_those_of_the_settings(
    service: Service, settings: type[ServerSettings]
) -> None:
    assert settings.model_fields["port"].default == service.port
    assert settings.model_config["env_prefix"] == service.variables
    assert settings.__module__.partition(".")[0] == service.module


def test_grpc_services_are_those_of_the_contract() -> None:
    files = (embedder_pb2, index_pb2, search_pb2, recommender_pb2)
    names = {
        service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()
    }
    assert names == {EMBEDDER_SERVICE, INDEX_SERVICE, SEARCH_SERVICE, RECOMMENDER_SERVICE}
