"""One trace through two real servers, a queue and the work behind it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from marquee.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from marquee.recommender.v1 import recommender_pb2, recommender_pb2_grpc
from rpckit.coalescer import Coalescer
from rpckit.errors import InternalError, OverloadedError
from rpckit.observing.telemetry import Telemetry
from rpckit.observing.tracing.context import TraceContext
from rpckit.observing.tracing.otlp import OtelTracer
from rpckit.serving.call import Call
from rpckit.serving.dispatch import Mount
from rpckit.serving.server import Server

Serve = Callable[..., Awaitable[Server]]

RECOMMEND = "marquee.recommender.v1.RecommenderService/Recommend"
EMBED = "marquee.embedder.v1.EmbedderService/EmbedUsers"
CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"


class Back:
    """An embedder without a model: a queue, and work that waits until it may go."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.fails: Exception | None = None
        self.batches: list[int] = []
        self.traces: list[TraceContext] = []
        self._stage = telemetry.stage("paddle_predict")
        self._coalescer = Coalescer(
            self._work,
            name="embed_users",
            max_batch=8,
            max_in_flight=1,
            max_queue=64,
            observer=telemetry.coalescer("embed_users"),
        )

    async def EmbedUsers(
        self, request: embedder_pb2.EmbedUsersRequest, call: Call
    ) -> embedder_pb2.EmbedUsersResponse:
        return (await self._coalescer.submit(call, deadline=call.deadline)).result

    async def EmbedMovies(self, request: object, call: Call) -> embedder_pb2.EmbedMoviesResponse:
        raise NotImplementedError

    async def GetModel(self, request: object, call: Call) -> None:
        raise NotImplementedError

    async def _work(
        self, calls: Sequence[Call]
    ) -> Sequence[embedder_pb2.EmbedUsersResponse | Exception]:
        self.batches.append(len(calls))
        self.traces += (call.trace for call in calls)
        with self._stage.measure(*(call.trace for call in calls)):
            await self.go.wait()
            if self.fails is not None:
                raise self.fails
        return [embedder_pb2.EmbedUsersResponse() for _ in calls]


class Front:
    """A gateway that only asks the embedder."""

    def __init__(self, telemetry: Telemetry, channel: grpc.aio.Channel) -> None:
        self._embed = embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedUsers
        self._recorder = telemetry.client(EMBED)

    async def Recommend(
        self, request: recommender_pb2.RecommendRequest, call: Call
    ) -> recommender_pb2.RecommendResponse:
        try:
            with self._recorder.call(call.trace) as trace:
                await self._embed(
                    embedder_pb2.EmbedUsersRequest(),
                    timeout=call.budget(),
                    metadata=trace.metadata(),
                )
        except grpc.aio.AioRpcError as error:
            raise InternalError(f"behind: {error.code().name}") from error
        return recommender_pb2.RecommendResponse()


async def always_ready() -> None:
    """Say that everything is there."""


def traced() -> tuple[OtelTracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OtelTracer(provider), exporter


class Chain:
    """A front and a back, and what they recorded."""

    def __init__(self, tracer: OtelTracer | None) -> None:
        self.front = Telemetry("front", tracer)
        self.back = Telemetry("back", tracer)
        self.servicer = Back(self.back)
        self.stub: recommender_pb2_grpc.RecommenderServiceAsyncStub

    async def recommend(self, flags: str | None = "01") -> None:
        headers = {"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-{flags}"} if flags else {}
        await self.stub.Recommend(
            recommender_pb2.RecommendRequest(), metadata=tuple(headers.items()), timeout=20
        )


@asynccontextmanager
async def chain(serve: Serve, tracer: OtelTracer | None) -> AsyncIterator[Chain]:
    made = Chain(tracer)
    embedder = embedder_pb2.DESCRIPTOR.services_by_name["EmbedderService"]
    recommender = recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"]
    back = await serve(Mount(embedder, made.servicer, always_ready), telemetry=made.back)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{back.port}") as channel:
        servicer = Front(made.front, channel)
        front = await serve(Mount(recommender, servicer, always_ready), telemetry=made.front)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{front.port}") as to_front:
            made.stub = recommender_pb2_grpc.RecommenderServiceStub(to_front)
            yield made


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def tree(spans: Sequence[ReadableSpan]) -> list[tuple[str, SpanKind]]:
    """Return one line of descent, from the span without a parent among `spans` downwards."""
    children = defaultdict(list)
    ids = {span.context.span_id for span in spans}
    for span in spans:
        parent = span.parent.span_id if span.parent else 0
        children[parent if parent in ids else 0].append(span)
    line = []
    at = 0
    while children[at]:
        (span,) = children[at]
        line.append((span.name, span.kind))
        at = span.context.span_id
    return line


WHOLE = [
    (RECOMMEND, SpanKind.SERVER),
    (EMBED, SpanKind.CLIENT),
    (EMBED, SpanKind.SERVER),
    ("paddle_predict", SpanKind.INTERNAL),
]


async def test_one_trace_spans_both_servers_and_the_work_below_the_callers_span(
    serve: Serve,
) -> None:
    tracer, exporter = traced()
    async with chain(serve, tracer) as made:
        await made.recommend()
    spans = exporter.get_finished_spans()
    assert tree(spans) == WHOLE
    assert {f"{span.context.trace_id:032x}" for span in spans} == {CALLERS_TRACE}
    (root,) = (span for span in spans if span.name == RECOMMEND)
    assert f"{root.parent.span_id:016x}" == CALLERS_SPAN
    assert root.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "marquee.recommender.v1.RecommenderService",
        "rpc.method": "Recommend",
        "rpc.grpc.status_code": 0,
    }
    assert root.status.status_code is StatusCode.UNSET


async def test_a_call_without_a_trace_starts_one_that_all_spans_belong_to(serve: Serve) -> None:
    tracer, exporter = traced()
    async with chain(serve, tracer) as made:
        await made.recommend(flags=None)
    spans = exporter.get_finished_spans()
    assert tree(spans) == WHOLE
    assert len({span.context.trace_id for span in spans}) == 1


async def test_a_callers_decision_not_to_sample_is_kept(serve: Serve) -> None:
    tracer, exporter = traced()
    async with chain(serve, tracer) as made:
        await made.recommend(flags="00")
    assert exporter.get_finished_spans() == ()


async def test_a_batch_is_a_child_of_its_first_call_and_links_the_others(serve: Serve) -> None:
    tracer, exporter = traced()
    async with chain(serve, tracer) as made:
        made.servicer.go.clear()
        first = asyncio.create_task(made.recommend(flags=None))
        await eventually(lambda: made.servicer.batches == [1])
        others = [asyncio.create_task(made.recommend(flags=None)) for _ in range(3)]
        depth = ("marquee_queue_depth", {"queue": "embed_users"})
        await eventually(lambda: made.back.registry.get_sample_value(*depth) == len(others))
        made.servicer.go.set()
        await asyncio.gather(first, *others)
    assert made.servicer.batches == [1, 3]
    spans = exporter.get_finished_spans()
    _, batch = sorted(
        (span for span in spans if span.name == "paddle_predict"), key=lambda s: len(s.links)
    )
    calls = {
        span.context.span_id
        for span in spans
        if span.name == EMBED and span.kind is SpanKind.SERVER
    }
    linked = {link.context.span_id for link in batch.links}
    assert len(linked) == 2
    assert linked | {batch.parent.span_id} < calls
    assert batch.parent.span_id not in linked


@pytest.mark.parametrize(
    ("fails", "server_status"),
    [
        (RuntimeError("a defect"), StatusCode.ERROR),
        (OverloadedError("full"), StatusCode.UNSET),  # refusing is not the server's error
    ],
)
async def test_a_failure_shows_in_all_spans_on_its_way(
    serve: Serve, fails: Exception, server_status: StatusCode
) -> None:
    tracer, exporter = traced()
    async with chain(serve, tracer) as made:
        made.servicer.fails = fails
        with pytest.raises(grpc.aio.AioRpcError):
            await made.recommend()
    statuses = {(s.name, s.kind): s.status.status_code for s in exporter.get_finished_spans()}
    assert statuses == {
        (RECOMMEND, SpanKind.SERVER): StatusCode.ERROR,
        (EMBED, SpanKind.CLIENT): StatusCode.ERROR,
        (EMBED, SpanKind.SERVER): server_status,
        ("paddle_predict", SpanKind.INTERNAL): StatusCode.ERROR,
    }


async def test_the_trace_is_passed_on_without_recording_spans(serve: Serve) -> None:
    async with chain(serve, None) as made:
        await made.recommend()
    (trace,) = made.servicer.traces
    assert trace.traceparent == f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"


async def test_both_servers_count_and_time_the_call(serve: Serve) -> None:
    async with chain(serve, None) as made:
        await made.recommend()
        labels = {"method": RECOMMEND, "code": "OK"}
        sample = made.front.registry.get_sample_value
        assert sample("marquee_rpc_server_requests_total", {**labels, "caller": "anonymous"}) == 1
        assert sample("marquee_rpc_server_duration_seconds_sum", labels) > 0
        assert sample("marquee_rpc_server_in_flight", {"method": RECOMMEND}) == 0
        assert sample("marquee_rpc_client_duration_seconds_count", {"method": EMBED, "code": "OK"})
        sample = made.back.registry.get_sample_value
        labels = {"method": EMBED, "code": "OK"}
        assert sample("marquee_rpc_server_duration_seconds_count", labels) == 1
        assert sample("marquee_stage_duration_seconds_count", {"stage": "paddle_predict"}) == 1
        ready = {"service": "marquee.embedder.v1.EmbedderService"}
        assert sample("marquee_ready", ready) == 1
