"""RecommenderService: a request in, a page of recommendations out."""

from __future__ import annotations

import time

from gateway import page_token
from gateway.cache import AnswerCache, Key
from gateway.recommend import Ask, Ranking, Recommender
from gateway.versions import Versions
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.search.v1 import search_pb2
from rpckit.call import Call
from rpckit.errors import InvalidRequestError

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100


class RecommenderServicer:
    """Translates between the contract and `gateway.recommend`.

    It checks what is its own, the page; the embedder checks the user and the search service the
    filter, each in the one place that knows what is right.
    """

    def __init__(self, recommender: Recommender, cache: AnswerCache | None = None) -> None:
        """Serve what `recommender` ranks, or what `cache` has kept of it."""
        self._recommender = recommender
        self._cache = cache

    async def Recommend(
        self, request: pb.RecommendRequest, call: Call
    ) -> pb.RecommendResponse | bytes:
        """Answer one page."""
        started = time.monotonic()
        size = _page_size(request)
        page = page_token.decode(request)
        end = min(page.offset + size, page_token.MAX_RESULTS)
        if self._cache is not None:
            key = Key.of(request, page, end)
            if (kept := self._cache.get(key)) is not None:
                return kept + _cached(time.monotonic() - started)
        query = search_pb2.MovieQuery(
            top_k=min(end + 1, page_token.MAX_RESULTS),  # one more tells whether a page follows
            filter=request.filter if request.HasField("filter") else None,
            exclude_movie_ids=request.exclude_movie_ids,
        )
        ranking, queued = await self._recommender.rank(Ask(request.user, query, call))
        answered_by = page_token.list_digest(ranking.model_version, ranking.index)
        if page.list_digest not in (None, answered_by):
            raise InvalidRequestError.of(
                "page_token", "belongs to another model or index; begin again at the first page"
            )
        response = pb.RecommendResponse(
            model_version=ranking.model_version,
            index=ranking.index,
            user_id_status=_user_id_status(request, ranking),
        )
        for rank, hit in enumerate(ranking.hits[page.offset : end], start=page.offset + 1):
            response.recommendations.add(
                rank=rank, movie=hit.movie, score=hit.similarity * ranking.score_scale
            )
        if len(ranking.hits) > end:
            response.next_page_token = page_token.encode(
                end, page_token.request_digest(request), answered_by
            )
        if self._cache is not None:
            versions = Versions(ranking.model_version, ranking.index_version)
            self._cache.put(key, versions, response.SerializeToString())
        timings = response.timings
        timings.queue_us = round(queued * 1e6)
        timings.embed_us = ranking.embed_us
        timings.search_us = ranking.search_us
        timings.total_us = round((time.monotonic() - started) * 1e6)
        return response


def _cached(seconds: float) -> bytes:
    """Return the timings of an answer that was kept, as the rest of its serialized response."""
    timings = pb.RecommendTimings(cached=True, total_us=round(seconds * 1e6))
    return pb.RecommendResponse(timings=timings).SerializeToString()


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
