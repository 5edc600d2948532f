from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from marquee.search.v1 import search_pb2
from rpckit.errors import MAX_VIOLATIONS, InvalidRequestError
from rpckit.field_limits import limits_of
from search_service.contract import search_validation
from search_service.index.vector_index import IndexSpec

ROWS, IDS = 1024, 1000
INDEX = IndexSpec("movies", "model", 2, ("Drama",))


async def test_a_million_bad_ids_are_refused_as_soon_as_there_is_enough_to_say() -> None:
    query = search_pb2.MovieQuery(top_k=10, exclude_movie_ids=[0] * IDS)
    request = search_pb2.SearchMoviesRequest(queries=[query] * ROWS)
    request.vectors.dimension = 2
    request.vectors.model_version = "model"
    request.vectors.data = np.zeros((ROWS, 2), "<f4").tobytes()
    started = time.process_time()
    with pytest.raises(InvalidRequestError) as refusal:
        await search_validation.check(request, INDEX, 2**23)
    assert time.process_time() - started < 0.5  # all of them took ten seconds
    assert len(refusal.value.violations) == MAX_VIOLATIONS


@pytest.mark.parametrize("field", ["exclude_movie_ids", "candidate_movie_ids"])
async def test_others_have_their_turn_while_many_ids_are_checked(field: str) -> None:
    most = limits_of(search_pb2.MovieQuery, field).items.max
    query = search_pb2.MovieQuery(top_k=10, **{field: range(1, most + 1)})
    request = search_pb2.SearchMoviesRequest(queries=[query] * 64)
    request.vectors.dimension = 2
    request.vectors.model_version = "model"
    request.vectors.data = np.zeros((64, 2), "<f4").tobytes()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    await search_validation.check(request, INDEX, 2**23)
    counting.cancel()
    assert turns >= request.ByteSize() // (2 * search_validation.BYTES_AT_ONCE)
