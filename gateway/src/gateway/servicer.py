"""RecommenderService: a request in, a page of recommendations out."""

from __future__ import annotations

import time

from gateway import page_token, passthrough
from gateway.canonical import canonical
from gateway.recommender import Ask, Ranking, Recommender
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from rpckit.errors import InvalidRequestError
from rpckit.serving.call import Call

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


class RecommenderServicer:
    """Translates between the contract and `gateway.recommender`.

    It checks what is its own, the page; the embedder checks the user and the search service the
    filter, each in the one place that knows what is right.
    """

    def __init__(self, recommender: Recommender) -> None:
        """Serve what `recommender` ranks."""
        self._recommender = recommender

    async def Recommend(self, request: pb.RecommendRequest, call: Call) -> bytes:
        """Answer one page; return the RecommendResponse serialized."""
        started = time.monotonic()
        size = _page_size(request)
        asked = canonical(request)
        page = page_token.decode(request.page_token, asked)
        end = min(page.offset + size, page_token.MAX_RESULTS)
        query = search_pb2.MovieQuery(exclude_movie_ids=request.exclude_movie_ids)
        query.top_k = min(end + 1, page_token.MAX_RESULTS)  # one more tells whether a page follows
        if request.HasField("filter"):
            query.filter.CopyFrom(request.filter)
        ranking, queued = await self._recommender.rank(Ask(request.user, query, call))
        answered_by = page_token.list_digest(ranking.model_version, ranking.index)
        if page.list_digest not in (None, answered_by):
            raise InvalidRequestError.of(
                "page_token", "belongs to another model or index; begin again at the first page"
            )
        response = passthrough.RecommendResponse()
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
            response.next_page_token = page_token.encode(
                end, page_token.request_digest(asked), answered_by
            )
        timings = response.timings
        timings.queue_us = round(queued * 1e6)
        timings.embed_us = ranking.embed_us
        timings.search_us = ranking.search_us
        timings.total_us = round((time.monotonic() - started) * 1e6)
        body: bytes = response.SerializeToString()
        return body


def _page_size(request: pb.RecommendRequest) -> int:
    if not request.HasField("page_size"):
        return DEFAULT_PAGE_SIZE
    if not 1 <= request.page_size <= MAX_PAGE_SIZE:
        raise InvalidRequestError.of(
            "page_size", f"must be 1 to {MAX_PAGE_SIZE}, not {request.page_size}"
        )
    return request.page_size


def _user_id_status(request: pb.RecommendRequest, ranking: Ranking) -> pb.UserIdStatus.ValueType:
    if not request.user.HasField("user_id"):
        return pb.USER_ID_STATUS_ABSENT
    return pb.USER_ID_STATUS_UNKNOWN if ranking.user_id_unknown else pb.USER_ID_STATUS_KNOWN
