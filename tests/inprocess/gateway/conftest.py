"""The gateway over a real embedder and a real search service, all in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.fixtures.suite import PASSING, Suite, build, catalogue

from embedder_service import __main__ as embedder
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from gateway import __main__ as gateway
from gateway.settings import GatewaySettings
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import Server, serving
from rpckit.settings.client import ClientSettings
from search_service import __main__ as search
from search_service.settings import SearchSettings
from suite.health import wait_until_serving
from suite.services import RECOMMENDER_SERVICE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Suite]:
    async with AsyncExitStack() as stack:

        async def start(module, settings) -> tuple[Server, grpc.aio.Channel]:
            telemetry = Telemetry(module.__name__)
            server = await stack.enter_async_context(serving(settings, module.wire, telemetry))
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
            return server, await stack.enter_async_context(channel)

        embedding, embedder_channel = await start(
            embedder, EmbedderSettings(bundle=tiny_bundle.path, **PASSING)
        )
        searching, search_channel = await start(
            search,
            SearchSettings(
                milvus_uri=str(tmp_path_factory.mktemp("search") / "milvus.db"), **PASSING
            ),
        )
        movies = catalogue(tiny_bundle)
        index = IndexServiceStub(search_channel)
        await build(index, EmbedderServiceStub(embedder_channel), tiny_bundle, movies)
        _, gateway_channel = await start(
            gateway,
            GatewaySettings(
                embedder=ClientSettings(target=f"127.0.0.1:{embedding.port}"),
                search=ClientSettings(target=f"127.0.0.1:{searching.port}"),
                **PASSING,
            ),
        )
        await wait_until_serving(gateway_channel, RECOMMENDER_SERVICE, 10)
        searcher = SearchServiceStub(search_channel)
        yield Suite(
            gateway_channel, RecommenderServiceStub(gateway_channel), searcher, index, movies
        )


async def refused_fields(call: Awaitable[object]) -> list[str]:
    """Return the fields that a call is refused for."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(refusal.value).details)
    return [violation.field for violation in bad.field_violations]
