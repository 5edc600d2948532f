"""Which collections are loaded, in a Milvus Lite."""

from __future__ import annotations

from tests.fixtures.movies import catalogue, spec

from search_service.store.collection_loader import CollectionLoader
from search_service.store.milvus_address import MilvusAddress
from search_service.store.milvus_client import Milvus


async def test_what_was_forgotten_meanwhile_is_reindexed(lite_uri: str) -> None:
    async with Milvus.connect(MilvusAddress(lite_uri), timeout=10) as milvus:
        await milvus.create(spec())
        movies, vectors = catalogue(20)
        await milvus.upsert(spec(), movies, vectors.values)
        loader = CollectionLoader(milvus, "auto", hnsw_from=10)
        assert await loader.ensure_loaded(spec().name) == "FLAT"
        loader.forget(spec().name)
        assert await loader.reindex(spec().name, 20) == "HNSW"
        assert await loader.inspect(spec().name) == ("HNSW", 20)
