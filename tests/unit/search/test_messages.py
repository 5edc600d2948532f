"""The serialized response against the message that it stands for."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from marquee.search.v1 import search_pb2 as pb
from search_service.contract.messages import movie_message, search_response
from search_service.index.vector_index import Hit, Hits, IndexedMovie

MOVIES = st.builds(
    IndexedMovie,
    movie_id=st.integers(1, 2**63 - 1),
    title=st.text(max_size=300),
    year=st.integers(0, 2200),
    genres=st.lists(st.text(max_size=20), max_size=4).map(tuple),
)
HITS = st.lists(st.builds(Hit, MOVIES, st.floats(-4, 4, width=32)), max_size=5)


UNKNOWN = st.dictionaries(st.integers(0, 3), st.lists(st.integers(1, 2**63 - 1), max_size=4))


@given(st.lists(HITS, max_size=4), UNKNOWN, st.integers(0, 2**32 - 1))
def test_a_serialized_response_is_the_message(
    results: list[Hits], unknown: dict[int, list[int]], queue_us: int
) -> None:
    rest = {"index": "movies", "timings": pb.SearchTimings(queue_us=queue_us)}
    expected = pb.SearchMoviesResponse(
        results=[
            pb.MovieHits(
                hits=[
                    pb.MovieHit(movie=movie_message(hit.movie), similarity=hit.similarity)
                    for hit in hits
                ],
                unknown_movie_ids=unknown.get(position, []),
            )
            for position, hits in enumerate(results)
        ],
        **rest,
    )
    for _ in range(2):  # the second time movies are copied as they were encoded
        said = search_response(results, unknown, pb.SearchMoviesResponse(**rest))
        assert pb.SearchMoviesResponse.FromString(said) == expected


def test_a_movie_is_encoded_once_and_stays_the_same_movie() -> None:
    movie, twin = (
        IndexedMovie(7, "Title", 1999, ("Drama",)),
        IndexedMovie(7, "Title", 1999, ("Drama",)),
    )
    search_response([[Hit(movie, float(np.float32(0.1)))]], {}, pb.SearchMoviesResponse())
    assert movie.encoded
    assert movie == twin
    assert repr(movie) == repr(twin)
