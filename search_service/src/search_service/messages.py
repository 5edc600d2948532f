"""Values of the indexes as messages of the contract."""

from __future__ import annotations

from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from search_service.index import Hits, IndexInfo, Movie


def movie_message(movie: Movie) -> types_pb2.Movie:
    """Return a movie."""
    return types_pb2.Movie(
        movie_id=movie.movie_id, title=movie.title, year=movie.year, genres=movie.genres
    )


def hits_message(hits: Hits) -> search_pb2.MovieHits:
    """Return the hits of one query."""
    return search_pb2.MovieHits(
        hits=[
            search_pb2.MovieHit(movie=movie_message(hit.movie), similarity=hit.similarity)
            for hit in hits
        ]
    )


def index_message(info: IndexInfo) -> index_pb2.Index:
    """Return an index as it is now."""
    return index_pb2.Index(
        name=info.spec.name,
        model_version=info.spec.model_version,
        dimension=info.spec.dimension,
        metric=info.spec.metric,
        genres=info.spec.genres,
        movie_count=info.movie_count,
        active=info.active,
        engine=info.engine,
    )
