"""RecommenderService: a request in, recommendations out."""

from __future__ import annotations

import time
from typing import Any

from gateway import opaque_movies, page_token
from gateway.batched_ranking import BatchedRanking, Ranking, RankingRequest
from gateway.batched_similarity import BatchedSimilarity, Similar, SimilarityRequest
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from marquee.type.v1 import types_pb2
from rpckit.errors import InvalidRequestError
from rpckit.field_limits import limits_of
from rpckit.serving.call import Call

PAGE_SIZE = limits_of(pb.RecommendRequest, "page_size")
LIKED = limits_of(pb.SimilarMoviesRequest, "liked_movie_ids")
MOVIE_IDS = limits_of(pb.RankMoviesRequest, "movie_ids")


class RecommenderServicer:
    """Implements marquee.recommender.v1.RecommenderService.

    It checks what is its own, such as the page and exclude_seen; the embedder checks the user and
    the search service the filter, each in the one place that knows what is right.
    """

    def __init__(self, ranking: BatchedRanking, similarity: BatchedSimilarity) -> None:
        """Serve what the two find."""
        self._ranking = ranking
        self._similarity = similarity

    async def Recommend(self, request: pb.RecommendRequest, call: Call) -> bytes:
        """Answer one page; return the RecommendResponse serialized."""
        started = time.monotonic()
        size = _page_size(request)
        _check_exclude_seen(request)
        request_digest = page_token.request_digest(request)
        page = page_token.decode(request.page_token, request_digest)
        end = min(page.offset + size, page_token.MAX_RESULTS)
        query = _query(request, end)
        if page_token.excludes_seen(request):
            query.exclude_seen_by_user_id = request.user.user_id
        ranking, queue_seconds = await self._ranking.rank(RankingRequest(request.user, query, call))
        source_digest = page_token.source_digest(ranking.model_version, ranking.index)
        page_token.check_source(page, source_digest)
        response = opaque_movies.RecommendResponse()
        _fill(response, request.user, ranking, page.offset, end)
        if len(ranking.hits) > end:
            response.next_page_token = page_token.encode(end, request_digest, source_digest)
        return _timed(response, ranking, queue_seconds, started)

    async def RankMovies(self, request: pb.RankMoviesRequest, call: Call) -> bytes:
        """Rank given movies; return the RankMoviesResponse serialized."""
        started = time.monotonic()
        movie_ids = request.movie_ids
        MOVIE_IDS.items.check("movie_ids", len(movie_ids))  # without any, all would be found
        query = search_pb2.MovieQuery(top_k=len(movie_ids), candidate_movie_ids=movie_ids)
        try:
            ranking, queue_seconds = await self._ranking.rank(
                RankingRequest(request.user, query, call)
            )
        except InvalidRequestError as error:
            raise error.renaming("candidate_movie_ids", "movie_ids") from None
        response = opaque_movies.RankMoviesResponse()
        _fill(response, request.user, ranking, 0, len(ranking.hits))
        response.unknown_movie_ids.extend(ranking.unknown_movie_ids)
        return _timed(response, ranking, queue_seconds, started)

    async def SimilarMovies(self, request: pb.SimilarMoviesRequest, call: Call) -> bytes:
        """Answer one page; return the SimilarMoviesResponse serialized."""
        started = time.monotonic()
        LIKED.items.check("liked_movie_ids", len(request.liked_movie_ids))
        size = _page_size(request)
        request_digest = page_token.request_digest(request)
        page = page_token.decode(request.page_token, request_digest)
        end = min(page.offset + size, page_token.MAX_RESULTS)
        query = _query(request, end)
        query.liked_movie_ids.extend(request.liked_movie_ids)
        query.disliked_movie_ids.extend(request.disliked_movie_ids)
        similar, queue_seconds = await self._similarity.find(SimilarityRequest(query, call))
        source_digest = page_token.source_digest(similar.model_version, similar.index)
        page_token.check_source(page, source_digest)
        response = opaque_movies.SimilarMoviesResponse()
        response.model_version = similar.model_version
        response.index = similar.index
        response.unknown_movie_ids.extend(similar.unknown_movie_ids)
        for rank, hit in enumerate(similar.hits[page.offset : end], start=page.offset + 1):
            response.movies.add(rank=rank, movie=hit.movie, similarity=hit.similarity)
        if len(similar.hits) > end:
            response.next_page_token = page_token.encode(end, request_digest, source_digest)
        return _timed(response, similar, queue_seconds, started)


def _query(
    request: pb.RecommendRequest | pb.SimilarMoviesRequest, end: int
) -> search_pb2.MovieQuery:
    """Return the query for a list up to the end of a page."""
    query = search_pb2.MovieQuery(exclude_movie_ids=request.exclude_movie_ids)
    query.diversity = request.diversity
    query.top_k = min(end + 1, page_token.MAX_RESULTS)  # one more tells whether a page follows
    if request.HasField("filter"):
        query.filter.CopyFrom(request.filter)
    return query


def _page_size(request: pb.RecommendRequest | pb.SimilarMoviesRequest) -> int:
    size = request.page_size if request.HasField("page_size") else PAGE_SIZE.default
    PAGE_SIZE.value.check("page_size", size)
    return size


def _check_exclude_seen(request: pb.RecommendRequest) -> None:
    if request.exclude_seen and not request.user.HasField("user_id"):
        raise InvalidRequestError.of("exclude_seen", "needs user.user_id")


def _fill(response: Any, user: types_pb2.User, ranking: Ranking, start: int, end: int) -> None:
    """Say what was found from rank `start` + 1 to `end`, and by what."""
    response.model_version = ranking.model_version
    response.index = ranking.index
    response.user_id_status = _user_id_status(user, ranking)
    response.score_kind = ranking.score_kind
    response.ignored_movie_ids.extend(ranking.ignored_movie_ids)
    # Field by field: arguments of a constructor take twice as long.
    for rank, hit in enumerate(ranking.hits[start:end], start=start + 1):
        recommendation = response.recommendations.add()
        recommendation.rank = rank
        recommendation.movie = hit.movie
        recommendation.score = hit.similarity * ranking.score_scale


def _timed(response: Any, found: Ranking | Similar, queue_seconds: float, started: float) -> bytes:
    """Say where the time went; return the response serialized."""
    timings = response.timings
    timings.queue_us = round(queue_seconds * 1e6)
    if isinstance(found, Ranking):
        timings.embed_us = found.embed_us
    timings.search_us = found.search_us
    timings.total_us = round((time.monotonic() - started) * 1e6)
    body: bytes = response.SerializeToString()
    return body


def _user_id_status(user: types_pb2.User, ranking: Ranking) -> pb.UserIdStatus.ValueType:
    if not user.HasField("user_id"):
        return pb.USER_ID_STATUS_ABSENT
    return pb.USER_ID_STATUS_UNKNOWN if ranking.user_id_unknown else pb.USER_ID_STATUS_KNOWN
