"""The gateway's cache over real services: what it saves, and that it is never behind the index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from tests.fixtures.milvus import wipe
from tests.fixtures.suite import PASSING, build, catalogue

from embedder_service import __main__ as embedder
from embedder_service.settings import EmbedderSettings
from fusion.bundle import Bundle
from gateway import __main__ as gateway
from gateway.settings import GatewaySettings
from marquee.embedder.v1 import embedder_pb2
from marquee.embedder.v1.embedder_pb2_grpc import EmbedderServiceStub
from marquee.recommender.v1 import recommender_pb2 as pb
from marquee.recommender.v1.recommender_pb2_grpc import RecommenderServiceStub
from marquee.search.v1 import index_pb2, search_pb2
from marquee.search.v1.index_pb2_grpc import IndexServiceStub
from marquee.search.v1.search_pb2_grpc import SearchServiceStub
from rpckit.observing.telemetry import Telemetry
from rpckit.serving.server import Server, serving
from rpckit.settings.client import ClientSettings
from search_service import __main__ as search
from search_service.settings import SearchSettings
from search_service.store.active_index_watcher import SILENCE_SECONDS
from suite.health import wait_until_serving
from suite.services import RECOMMENDER_SERVICE, SEARCH_SERVICE

FRESH_SECONDS = 0.4
BOUND_SECONDS = SILENCE_SECONDS + FRESH_SECONDS
"""How long a kept answer may outlive a write, from the moment when its caller has heard of it."""
SECONDS = 20.0
ASKED = {"user": {"user_id": 1}, "page_size": 20}


class Chain:
    """An embedder, one or more search services and a gateway that keeps answers."""

    def __init__(self, stack: AsyncExitStack, bundle: Bundle) -> None:
        self.bundle = bundle
        self.movies = catalogue(bundle)
        self._stack = stack

    async def start(self, uri: str, engine: str, replicas: int) -> None:
        self._embedding = AsyncExitStack()
        self._stack.push_async_callback(self._embedding.aclose)
        self.embedder = await self._start_embedder(0)
        searches = [
            await self.serve(search, SearchSettings(milvus_uri=uri, engine=engine, **PASSING))
            for _ in range(replicas)
        ]
        channels = [await self.channel(server) for server in searches]
        self.indexes = [IndexServiceStub(channel) for channel in channels]
        self.searchers = [SearchServiceStub(channel) for channel in channels]
        await build(self.indexes[0], await self.embedding(), self.bundle, self.movies)
        for channel in channels:
            await wait_until_serving(channel, SEARCH_SERVICE, 10)
        targets = ",".join(f"127.0.0.1:{server.port}" for server in searches)
        server = await self.serve(
            gateway,
            GatewaySettings(
                embedder=ClientSettings(target=f"127.0.0.1:{self.embedder.port}"),
                search=ClientSettings(target=f"ipv4:{targets}"),
                cache_size=1 << 20,
                cache_fresh_s=FRESH_SECONDS,
                **PASSING,
            ),
        )
        channel = await self.channel(server)
        await wait_until_serving(channel, RECOMMENDER_SERVICE, 10)
        self.recommender = RecommenderServiceStub(channel)

    async def serve(self, module, settings, stack: AsyncExitStack | None = None) -> Server:
        telemetry = Telemetry(module.__name__)
        return await (stack or self._stack).enter_async_context(
            serving(settings, module.wire, telemetry)
        )

    async def channel(self, server: Server) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        return await self._stack.enter_async_context(channel)

    async def embedding(self) -> EmbedderServiceStub:
        return EmbedderServiceStub(await self.channel(self.embedder))

    async def replace_model(self, bundle: Bundle) -> None:
        """Stop the embedder; another one with another model takes its place."""
        await self.stop_embedder()
        self.bundle = bundle
        self.embedder = await self._start_embedder(self.embedder.port)

    async def stop_embedder(self) -> None:
        await self._embedding.aclose()

    async def recommend(self, **request: object) -> pb.RecommendResponse:
        return await self.recommender.Recommend(pb.RecommendRequest(**request), timeout=10)

    async def kept(self, **request: object) -> pb.RecommendResponse:
        """Ask until the answer comes from the cache."""
        return await self.kept_with(lambda _: True, **request)

    async def kept_with(
        self, right: Callable[[pb.RecommendResponse], bool], **request: object
    ) -> pb.RecommendResponse:
        """Ask until a kept answer is right."""
        async with asyncio.timeout(SECONDS):
            while True:
                answer = await self.recommend(**request)
                if answer.timings.cached and right(answer):
                    return answer
                await asyncio.sleep(0.02)

    async def _start_embedder(self, port: int) -> Server:
        settings = EmbedderSettings(bundle=self.bundle.path, **{**PASSING, "port": port})
        return await self.serve(embedder, settings, self._embedding)


@pytest.fixture(params=["lite milvus", "lite resident", "server milvus 2", "server resident 2"])
async def chain(
    request: pytest.FixtureRequest, tiny_bundle: Bundle, tmp_path: Path
) -> AsyncIterator[Chain]:
    where, engine, *replicas = request.param.split()
    uri = str(tmp_path / "milvus.db")
    if where == "server":
        uri = request.getfixturevalue("milvus_uri")
        await wipe(uri)
    async with AsyncExitStack() as stack:
        chain = Chain(stack, tiny_bundle)
        await chain.start(uri, engine, int(*replicas or [1]))
        yield chain


@pytest.fixture
async def small(tiny_bundle: Bundle, tmp_path: Path) -> AsyncIterator[Chain]:
    """One of each, for what does not depend on the store."""
    async with AsyncExitStack() as stack:
        chain = Chain(stack, tiny_bundle)
        await chain.start(str(tmp_path / "milvus.db"), "resident", 1)
        yield chain


def ids(response: pb.RecommendResponse) -> list[int]:
    return [each.movie.movie_id for each in response.recommendations]


def titles(response: pb.RecommendResponse) -> list[str]:
    return [each.movie.title for each in response.recommendations]


async def test_a_kept_answer_is_the_answer_and_says_that_it_was_kept(small: Chain) -> None:
    answer = await small.recommend(**ASKED)
    assert not answer.timings.cached
    kept = await small.kept(**ASKED)
    assert kept.timings.total_us < answer.timings.total_us
    assert (kept.timings.queue_us, kept.timings.embed_us, kept.timings.search_us) == (0, 0, 0)
    kept.ClearField("timings")
    answer.ClearField("timings")
    assert kept == answer


async def test_requests_that_mean_the_same_share_an_answer_and_its_pages(small: Chain) -> None:
    one = {"filter": {"min_year": 1950}, "exclude_movie_ids": [1, 2, 3], "page_size": 5}
    two = {"user": {}, "filter": {"min_year": 1950}, "exclude_movie_ids": [3, 1, 2], "page_size": 5}
    await small.kept(**one)
    first = await small.recommend(**two)
    assert first.timings.cached
    for asked in (one, two):
        page = await small.recommend(**asked, page_token=first.next_page_token)
        assert [each.rank for each in page.recommendations] == [6, 7, 8, 9, 10]
    assert page.timings.cached
    assert not set(ids(page)) & {*ids(first), 1, 2, 3}


async def test_other_requests_get_answers_of_their_own(small: Chain) -> None:
    kept = ids(await small.kept(**ASKED))
    for change in (
        {"user": {"user_id": 2}},
        {"page_size": 19},
        {"filter": {"min_year": 1990}},
        {"exclude_movie_ids": kept[:1]},
    ):
        answer = await small.recommend(**(ASKED | change))
        assert not answer.timings.cached
        assert ids(answer) != kept


async def test_what_is_refused_is_refused_every_time(small: Chain) -> None:
    await small.kept(exclude_movie_ids=[1])
    for bad in ({"user": {"age": 0}}, {"exclude_movie_ids": [1] * 1001}, {"page_size": 0}):
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await small.recommend(**bad)
            assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_kept_answer_is_never_behind_the_index(chain: Chain) -> None:
    """Asks all the time, while the index is written to and another one activated."""
    answers: list[tuple[float, pb.RecommendResponse]] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            began = time.monotonic()
            answers.append((began, await chain.recommend(**ASKED)))
            await asyncio.sleep(0.005)

    async def seen(
        write: Callable[[], Awaitable[object]], new: Callable[[pb.RecommendResponse], bool]
    ) -> None:
        """Write; then wait until kept answers are new, and see that none was not for too long."""
        await write()
        acknowledged = time.monotonic()
        await chain.kept_with(new, **ASKED)
        await asyncio.sleep(max(0.0, acknowledged + BOUND_SECONDS - time.monotonic()) + 0.3)
        late = [
            answer
            for began, answer in answers
            if answer.timings.cached and began > acknowledged + BOUND_SECONDS
        ]
        assert late
        assert all(new(answer) for answer in late)

    best = (await chain.kept(**ASKED)).recommendations[0].movie
    index, model = chain.indexes[0], await chain.embedding()
    vectors = (await model.EmbedMovies(embedder_pb2.EmbedMoviesRequest(movies=[best]))).vectors

    async def retitle(title: str) -> None:
        best.title = title
        await index.UpsertMovies(
            index_pb2.UpsertMoviesRequest(index="movies", movies=[best], vectors=vectors)
        )

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(ask())
        try:
            for title in ("Another title", "And another"):
                await seen(lambda t=title: retitle(t), lambda answer, t=title: t in titles(answer))
            await seen(
                lambda: index.DeleteMovies(
                    index_pb2.DeleteMoviesRequest(index="movies", movie_ids=[best.movie_id])
                ),
                lambda answer: best.movie_id not in ids(answer),
            )
            await seen(
                lambda: build(index, model, chain.bundle, chain.movies[10:], name="other"),
                lambda answer: answer.index == "other",
            )
            await seen(
                lambda: index.ActivateIndex(index_pb2.ActivateIndexRequest(index="movies")),
                lambda answer: answer.index == "movies" and best.movie_id not in ids(answer),
            )
        finally:
            done.set()
    assert sum(answer.timings.cached for _, answer in answers) > len(answers) / 4


async def test_a_new_model_ends_the_answers_of_the_one_before(
    small: Chain, other_bundle: Bundle
) -> None:
    old = await small.kept(**ASKED)
    await small.replace_model(other_bundle)
    await asyncio.sleep(FRESH_SECONDS)
    async with asyncio.timeout(SECONDS):
        code = None
        while code is not grpc.StatusCode.FAILED_PRECONDITION:  # the new embedder is found
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await small.recommend(**ASKED)
            code = refusal.value.code()
            await asyncio.sleep(0.05)
    await build(small.indexes[0], await small.embedding(), other_bundle, small.movies, name="new")
    new = await small.kept(**ASKED)
    assert (new.model_version, new.index) == (other_bundle.manifest.version, "new")
    assert new.model_version != old.model_version


async def test_without_the_embedder_nothing_is_answered_from_the_cache(small: Chain) -> None:
    await small.kept(**ASKED)
    await small.stop_embedder()
    await asyncio.sleep(FRESH_SECONDS)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await small.recommend(**ASKED)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_version_of_the_index_is_what_its_searches_say(small: Chain) -> None:
    await small.kept(**ASKED)  # it is known now
    said = await small.searchers[0].GetIndexVersion(search_pb2.GetIndexVersionRequest())
    assert (said.index, said.model_version) == ("movies", small.bundle.manifest.version)
    model = await small.embedding()
    embedded = await model.EmbedUsers(embedder_pb2.EmbedUsersRequest(users=[{}]))
    found = await small.searchers[0].SearchMovies(
        search_pb2.SearchMoviesRequest(vectors=embedded.vectors, queries=[{"top_k": 1}])
    )
    assert found.index_version == said.index_version != ""
    await small.indexes[0].DeleteMovies(
        index_pb2.DeleteMoviesRequest(index="movies", movie_ids=[1])
    )
    now = await small.searchers[0].GetIndexVersion(search_pb2.GetIndexVersionRequest())
    assert now.index_version != said.index_version
