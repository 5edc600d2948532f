"""RecommenderService: a request in, a page of recommendations out."""

from __future__ import annotations

import time

from gateway import opaque_movies, page_token
from gateway.batched_ranking import BatchedRanking, Ranking, RankingRequest
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from rpckit.errors import InvalidRequestError
from rpckit.field_limits import limits_of
from rpckit.serving.call import Call

PAGE_SIZE = limits_of(pb.RecommendRequest, "page_size")


class RecommenderServicer:
    """Implements marquee.recommender.v1.RecommenderService.

    It checks what is its own, the page and exclude_seen; the embedder checks the user and the
    search service the filter, each in the one place that knows what is right.
    """

    def __init__(self, batched: BatchedRanking) -> None:
        """Serve pages of what `batched` ranks."""
        self._batched = batched

    async def Recommend(self, request: pb.RecommendRequest, call: Call) -> bytes:
        """Answer one page; return the RecommendResponse serialized."""
        started = time.monotonic()
        size = _page_size(request)
        _check_exclude_seen(request)
        request_digest = page_token.request_digest(request)
        page = page_token.decode(request.page_token, request_digest)
        end = min(page.offset + size, page_token.MAX_RESULTS)
        query = search_pb2.MovieQuery(exclude_movie_ids=request.exclude_movie_ids)
        if page_token.excludes_seen(request):
            query.exclude_seen_by_user_id = request.user.user_id
        query.top_k = min(end + 1, page_token.MAX_RESULTS)  # one more tells whether a page follows
        if request.HasField("filter"):
            query.filter.CopyFrom(request.filter)
        ranking, queue_seconds = await self._batched.rank(RankingRequest(request.user, query, call))
        source_digest = page_token.source_digest(ranking.model_version, ranking.index)
        page_token.check_source(page, source_digest)
        response = opaque_movies.RecommendResponse()
        response.model_version = ranking.model_version
        response.index = ranking.index
        response.user_id_status = _user_id_status(request, ranking)
        # Field by field: arguments of a constructor take twice as long.
        for rank, hit in enumerate(ranking.hits[page.offset : end], start=page.offset + 1):
            recommendation = response.recommendations.add()
            recommendation.rank = rank
            recommendation.movie = hit.movie
            recommendation.score = hit.similarity * ranking.score_scale
        if len(ranking.hits) > end:
            response.next_page_token = page_token.encode(end, request_digest, source_digest)
        timings = response.timings
        timings.queue_us = round(queue_seconds * 1e6)
        timings.embed_us = ranking.embed_us
        timings.search_us = ranking.search_us
        timings.total_us = round((time.monotonic() - started) * 1e6)
        body: bytes = response.SerializeToString()
        return body


def _page_size(request: pb.RecommendRequest) -> int:
    size = request.page_size if request.HasField("page_size") else PAGE_SIZE.default
    PAGE_SIZE.value.check("page_size", size)
    return size


def _check_exclude_seen(request: pb.RecommendRequest) -> None:
    if request.exclude_seen and not request.user.HasField("user_id"):
        raise InvalidRequestError.of("exclude_seen", "needs user.user_id")


def _user_id_status(request: pb.RecommendRequest, ranking: Ranking) -> pb.UserIdStatus.ValueType:
    if not request.user.HasField("user_id"):
        return pb.USER_ID_STATUS_ABSENT
    return pb.USER_ID_STATUS_UNKNOWN if ranking.user_id_unknown else pb.USER_ID_STATUS_KNOWN
