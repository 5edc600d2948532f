"""SearchService: the read side of the contract."""

from __future__ import annotations

from marquee.search.v1 import search_pb2 as pb
from rpckit.serving.call import Call
from search_service.contract import page_token, validation
from search_service.contract.batched_search import Answer, BatchedSearch
from search_service.contract.messages import index_message, movie_message, search_response
from search_service.index.errors import IndexNotFoundError
from search_service.index.vector_index import IndexSpec, VectorIndex


class SearchServicer:
    """Implements marquee.search.v1.SearchService."""

    def __init__(self, index: VectorIndex, batched: BatchedSearch) -> None:
        """Read from `index`, and search it through `batched`."""
        self._index = index
        self._batched = batched

    async def SearchMovies(self, request: pb.SearchMoviesRequest, call: Call) -> bytes:
        """Find movies by vector; return a serialized SearchMoviesResponse."""
        index, answer = await self._search(request, call)
        return search_response(
            answer.hits,
            pb.SearchMoviesResponse(
                index=index.name,
                model_version=index.model_version,
                timings=pb.SearchTimings(
                    queue_us=round(answer.queue_seconds * 1e6),
                    search_us=round(answer.search_seconds * 1e6),
                ),
            ),
        )

    async def GetMovies(self, request: pb.GetMoviesRequest, call: Call) -> pb.GetMoviesResponse:
        """Read movies by id."""
        del call
        movie_ids = validation.get_movies(request)
        index = await self._index.resolve(validation.index_to_read(request.index))
        movies = await self._index.get(index, movie_ids)
        return pb.GetMoviesResponse(
            movies=[movie_message(movies[i]) for i in movie_ids if i in movies],
            missing_movie_ids=[i for i in movie_ids if i not in movies],
            index=index.name,
        )

    async def ListMovies(self, request: pb.ListMoviesRequest, call: Call) -> pb.ListMoviesResponse:
        """List movies in pages, ascending by id."""
        del call
        size = validation.page_size(request)
        index = await self._index.resolve(validation.index_to_read(request.index))
        after = page_token.decode(index, request.page_token)
        # One more than the page reveals whether another page follows.
        movies = await self._index.list_movies(index, after, size + 1)
        page = movies[:size]
        return pb.ListMoviesResponse(
            movies=map(movie_message, page),
            next_page_token=page_token.encode(index, page[-1].movie_id)
            if len(movies) > size
            else "",
            index=index.name,
        )

    async def GetIndex(self, request: pb.GetIndexRequest, call: Call) -> pb.GetIndexResponse:
        """Describe an index."""
        del call
        index = await self._index.resolve(validation.index_to_read(request.index))
        return pb.GetIndexResponse(index=index_message(await self._index.describe(index)))

    async def _search(
        self, request: pb.SearchMoviesRequest, call: Call
    ) -> tuple[IndexSpec, Answer]:
        vectors, queries = validation.search(request)
        seen_by = validation.seen_by(request)
        name = validation.index_to_read(request.index)
        index = await self._index.resolve(name)
        try:
            return index, await self._batched.search(index, vectors, queries, seen_by, call)
        except IndexNotFoundError:
            # Another process may have activated another index and deleted this one meanwhile.
            current = await self._index.resolve(name)
            if name or current == index:
                raise
            return current, await self._batched.search(current, vectors, queries, seen_by, call)
