"""Opening of pymilvus's client."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymilvus import AsyncMilvusClient

from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_errors import disable_pymilvus_logging


@asynccontextmanager
async def open_client(address: MilvusAddress, timeout: float) -> AsyncIterator[AsyncMilvusClient]:
    """Yield a client of the running loop, which connects on first use.

    Args:
        address: How to reach Milvus.
        timeout: Longest duration of a connection attempt, in seconds.

    Raises:
        StartupError: A TLS file is missing or invalid.
    """
    disable_pymilvus_logging()
    if address.tls is not None:
        address.tls.watch(interval=math.inf)  # pymilvus would report a bad file at every poll
    client = AsyncMilvusClient(
        timeout=min(1.0, timeout),
        dedicated=True,
        **address.client_arguments(),
    )
    # Private to pymilvus, see Milvus.search: it takes the brackets off an IPv6 address.
    client._config.address = address.target
    try:
        yield client
    finally:
        await client.close()
