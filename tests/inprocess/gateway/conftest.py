"""The gateway over a real embedder and a real search service, all in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.fixtures.suite import Suite, running

from fusion.bundle import Bundle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Suite]:
    async with running(tiny_bundle, tmp_path_factory.mktemp("search")) as suite:
        yield suite
