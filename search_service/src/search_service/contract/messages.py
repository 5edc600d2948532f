"""Conversion of an index's values to messages of the contract."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from marquee.search.v1 import index_pb2, search_pb2
from marquee.type.v1 import types_pb2
from search_service.index.vector_index import Hits, IndexedMovie, IndexInfo

_DELIMITED, _FIXED32 = 2, 5  # wire types of the protobuf encoding
_RESULTS = bytes([search_pb2.SearchMoviesResponse.RESULTS_FIELD_NUMBER << 3 | _DELIMITED])
_HITS = bytes([search_pb2.MovieHits.HITS_FIELD_NUMBER << 3 | _DELIMITED])
_MOVIE = bytes([search_pb2.MovieHit.MOVIE_FIELD_NUMBER << 3 | _DELIMITED])
_SIMILARITY = bytes([search_pb2.MovieHit.SIMILARITY_FIELD_NUMBER << 3 | _FIXED32])
_float = struct.Struct("<f")


def movie_message(movie: IndexedMovie) -> types_pb2.Movie:
    """Return the message for a movie."""
    return types_pb2.Movie(
        movie_id=movie.movie_id, title=movie.title, year=movie.year, genres=movie.genres
    )


def search_response(
    results: Sequence[Hits],
    unknown_ids: Mapping[int, Sequence[int]],
    rest: search_pb2.SearchMoviesResponse,
) -> bytes:
    """Return a serialized SearchMoviesResponse.

    Each movie is encoded once and copied from then on; building messages for ten hits takes ten
    times as long (README.md has the measurement).

    Args:
        results: The hits of each query.
        unknown_ids: MovieHits.unknown_movie_ids of the queries that have any, by position.
        rest: All other fields.
    """
    pack = _float.pack
    parts: list[bytes] = []
    for position, hits in enumerate(results):
        encoded = [
            (movie.encoded or _encode(movie)) + pack(similarity) for movie, similarity in hits
        ]
        if position in unknown_ids:
            unknown = search_pb2.MovieHits(unknown_movie_ids=unknown_ids[position])
            encoded.append(unknown.SerializeToString())
        body = b"".join(encoded)
        parts += (_RESULTS, _varint(len(body)), body)
    # Protobuf allows fields in any order, so concatenating encodings merges the messages.
    parts.append(rest.SerializeToString())
    return b"".join(parts)


def index_message(info: IndexInfo) -> index_pb2.Index:
    """Return the message for an index."""
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


def _encode(movie: IndexedMovie) -> bytes:
    """Encode the movie's MovieHits.hits up to the value of its similarity, and cache it."""
    message = movie_message(movie).SerializeToString()
    field = _MOVIE + _varint(len(message)) + message + _SIMILARITY
    encoded = _HITS + _varint(len(field) + _float.size) + field
    object.__setattr__(movie, "encoded", encoded)
    return encoded


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
