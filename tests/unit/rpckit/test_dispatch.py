"""Which methods a dispatcher finds in its mounts."""

from __future__ import annotations

import pytest

from marquee.embedder.v1 import embedder_pb2
from rpckit.observing.logs import AccessLog
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.admission import Admission
from rpckit.serving.dispatch import AllowAll, Dispatcher, Mount

SERVICE = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"]


class OnlyUsers:
    async def EmbedUsers(self, request: object, call: object) -> None: ...

    async def ready(self) -> None: ...


class Misspelt:
    async def embed_users(self, request: object, call: object) -> None: ...

    async def ready(self) -> None: ...


def dispatcher(servicer: OnlyUsers | Misspelt) -> Dispatcher:
    return Dispatcher(
        [Mount(SERVICE, servicer, servicer.ready)],
        telemetry=Telemetry("test"),
        access_log=AccessLog("off"),
        authorizer=AllowAll(),
        admission=Admission(max_in_flight=64, max_wait=0.1),
        default_deadline=1.0,
        margin=0.0,
        max_send_bytes=1024,
    )


def test_the_methods_are_those_of_the_servicer() -> None:
    assert list(dispatcher(OnlyUsers()).methods) == [
        "marquee.embedder.v1.EmbedderService/EmbedUsers"
    ]


def test_a_servicer_without_any_rpc_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="Misspelt has no method for any RPC"):
        dispatcher(Misspelt())
