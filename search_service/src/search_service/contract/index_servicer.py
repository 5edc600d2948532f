"""IndexService: the write side of the contract."""

from __future__ import annotations

from marquee.search.v1 import index_pb2 as pb
from rpckit.serving.call import Call
from search_service.contract import validation
from search_service.contract.messages import index_message
from search_service.index.vector_index import IndexSpec, VectorIndex


class IndexServicer:
    """Implements marquee.search.v1.IndexService."""

    def __init__(self, index: VectorIndex) -> None:
        """Write to `index`."""
        self._index = index

    async def CreateIndex(
        self, request: pb.CreateIndexRequest, call: Call
    ) -> pb.CreateIndexResponse:
        """Create an empty index."""
        del call
        info = await self._index.create(validation.create(request))
        return pb.CreateIndexResponse(index=index_message(info))

    async def UpsertMovies(
        self, request: pb.UpsertMoviesRequest, call: Call
    ) -> pb.UpsertMoviesResponse:
        """Write movies with their vectors."""
        del call
        movies, vectors = validation.upsert(request)
        await self._index.upsert(await self._resolve(request.index), movies, vectors)
        return pb.UpsertMoviesResponse(upserted_count=len(movies))

    async def DeleteMovies(
        self, request: pb.DeleteMoviesRequest, call: Call
    ) -> pb.DeleteMoviesResponse:
        """Delete movies."""
        del call
        movie_ids = validation.delete(request)
        await self._index.delete_movies(await self._resolve(request.index), movie_ids)
        return pb.DeleteMoviesResponse()

    async def ActivateIndex(
        self, request: pb.ActivateIndexRequest, call: Call
    ) -> pb.ActivateIndexResponse:
        """Make an index the active one."""
        del call
        expected = validation.expected_count(request)
        index = await self._resolve(request.index)
        activation = await self._index.activate(index, expected)
        return pb.ActivateIndexResponse(
            index=index_message(activation.index), previous_index=activation.previous
        )

    async def ListIndexes(
        self, request: pb.ListIndexesRequest, call: Call
    ) -> pb.ListIndexesResponse:
        """List all indexes."""
        del request, call
        infos = await self._index.list_indexes()
        return pb.ListIndexesResponse(indexes=map(index_message, infos))

    async def DeleteIndex(
        self, request: pb.DeleteIndexRequest, call: Call
    ) -> pb.DeleteIndexResponse:
        """Delete an index and its movies."""
        del call
        await self._index.drop(await self._resolve(request.index))
        return pb.DeleteIndexResponse()

    async def _resolve(self, name: str) -> IndexSpec:
        return await self._index.resolve(validation.index_to_write(name))
