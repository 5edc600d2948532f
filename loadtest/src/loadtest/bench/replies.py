"""Synthetic replies like those of the services: the default replies of the echo."""

from __future__ import annotations

from loadtest.workload import METHODS, movie, unit_vectors
from marquee.embedder.v1 import embedder_pb2
from marquee.recommender.v1 import recommender_pb2
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2

_GENRES = ("Action", "Comedy", "Drama", "Film-Noir", "Thriller")
_MODEL = "0123456789ab"
_DIMENSION, _HITS = 256, 10


def synthetic_replies() -> dict[str, bytes]:
    """Return one serialised answer per method: one user or movie of 256 values, or ten hits."""
    vectors = types_pb2.Vectors(
        dimension=_DIMENSION, data=unit_vectors(1, _DIMENSION).tobytes(), model_version=_MODEL
    )
    movies = [movie(1000 + each, _GENRES) for each in range(_HITS)]
    replies = {
        "EmbedUsers": embedder_pb2.EmbedUsersResponse(
            vectors=vectors,
            score_scale=5,
            timings=embedder_pb2.EmbedTimings(queue_us=300, predict_us=400),
        ),
        "EmbedMovies": embedder_pb2.EmbedMoviesResponse(
            vectors=vectors, timings=embedder_pb2.EmbedTimings(queue_us=300, predict_us=400)
        ),
        "SearchMovies": search_pb2.SearchMoviesResponse(
            results=[
                search_pb2.MovieHits(
                    hits=[search_pb2.MovieHit(movie=each, similarity=0.5) for each in movies]
                )
            ],
            index="movies_0123456789ab",
            model_version=_MODEL,
            timings=search_pb2.SearchTimings(queue_us=300, search_us=900),
        ),
        "Recommend": recommender_pb2.RecommendResponse(
            recommendations=[
                recommender_pb2.Recommendation(rank=rank, movie=each, score=4.5)
                for rank, each in enumerate(movies, start=1)
            ],
            next_page_token="x" * 100,
            model_version=_MODEL,
            index="movies_0123456789ab",
            user_id_status=recommender_pb2.USER_ID_STATUS_KNOWN,
            timings=recommender_pb2.RecommendTimings(
                queue_us=300, embed_us=900, search_us=1500, total_us=3000
            ),
        ),
    }
    return {METHODS[name]: reply.SerializeToString() for name, reply in replies.items()}
