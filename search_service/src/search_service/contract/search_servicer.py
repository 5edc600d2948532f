"""SearchService: the read side of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from marquee.search.v1 import search_pb2 as pb
from rpckit.serving.call import Call
from search_service.contract import page_token, search_validation, validation
from search_service.contract.batched_search import BatchedSearch
from search_service.contract.diversified import deepened, diversified
from search_service.contract.example_vectors import with_example_vectors
from search_service.contract.messages import index_message, movie_message, search_response
from search_service.contract.read_in_parts import read_in_parts
from search_service.contract.search_validation import Search
from search_service.index.errors import IndexNotFoundError
from search_service.index.vector_index import Hits, IndexSpec, VectorIndex


class SearchServicer:
    """Implements marquee.search.v1.SearchService."""

    def __init__(
        self, index: VectorIndex, batched: BatchedSearch, *, max_answer_bytes: int
    ) -> None:
        """Serve an index.

        Args:
            index: What is read.
            batched: Searches `index`, in batches.
            max_answer_bytes: Largest size of a response.
        """
        self._index = index
        self._batched = batched
        self._max_answer_bytes = max_answer_bytes

    async def SearchMovies(self, request: pb.SearchMoviesRequest, call: Call) -> bytes:
        """Find movies by vector; return a serialized SearchMoviesResponse."""
        name = validation.index_to_read(request.index)
        index = await self._index.resolve(name)
        try:
            return await self._search(index, request, call)
        except IndexNotFoundError:
            # Another process may have activated another index and deleted this one meanwhile.
            current = await self._index.resolve(name)
            if name or current == index:
                raise
            return await self._search(current, request, call)

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

    async def _search(self, index: IndexSpec, request: pb.SearchMoviesRequest, call: Call) -> bytes:
        search = await search_validation.check(request, index, self._max_answer_bytes)
        if search.examples:
            search = await with_example_vectors(self._index, index, search)
        queries = deepened(search) if search.diversities else search.queries
        answer = await self._batched.search(index, search.vectors, queries, search.seen_by, call)
        hits = answer.hits
        if search.diversities:
            hits = await diversified(self._index, index, search, hits)
        return search_response(
            hits,
            await self._unknown_ids(index, search, hits),
            pb.SearchMoviesResponse(
                index=index.name,
                model_version=index.model_version,
                timings=pb.SearchTimings(
                    queue_us=round(answer.queue_seconds * 1e6),
                    search_us=round(answer.search_seconds * 1e6),
                ),
                refused_queries=search.refused.messages(),
            ),
        )

    async def _unknown_ids(
        self, index: IndexSpec, search: Search, results: Sequence[Hits]
    ) -> dict[int, list[int]]:
        """Return the ids named by queries that the index does not have, by position."""
        named: dict[int, frozenset[int]] = {}
        for position, query in enumerate(search.queries):
            if query.filter.movie_ids is not None:
                found = [hit.movie.movie_id for hit in results[position]]
                named[position] = query.filter.movie_ids.difference(found)
                await asyncio.sleep(0)  # others have their turn
        for position, examples in search.examples.items():
            named[position] = named.get(position, frozenset()).union(examples.movie_ids)
        movie_ids = frozenset().union(*named.values())
        if not movie_ids:
            return {}
        held = await read_in_parts(self._index.get, index, list(movie_ids))
        return {position: sorted(ids - held.keys()) for position, ids in named.items()}
