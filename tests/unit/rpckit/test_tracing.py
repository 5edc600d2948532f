from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpckit.observing.tracing.context import NoopTracer, TraceContext, current_traces, use_traces

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_callers_trace_context_is_passed_on() -> None:
    metadata = {"traceparent": VALID, "tracestate": "vendor=1", "authorization": "Bearer x"}
    trace = TraceContext.from_metadata(metadata)
    assert trace.has_ids
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.metadata() == (("traceparent", VALID), ("tracestate", "vendor=1"))


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        VALID.encode(),
        VALID.upper(),
        VALID[:-1],
        VALID.replace("-01", ""),
        "ff" + VALID[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        VALID + "-what-version-00-does-not-have",
    ],
)
def test_an_invalid_traceparent_starts_a_new_trace(traceparent: str | bytes | None) -> None:
    metadata = {} if traceparent is None else {"traceparent": traceparent}
    trace = TraceContext.from_metadata({**metadata, "tracestate": "vendor=1"})
    assert not trace.has_ids
    assert trace.trace_id != VALID[3:35]
    assert trace.tracestate == ""


def test_a_later_version_is_understood_as_far_as_version_0_goes() -> None:
    trace = TraceContext.from_metadata({"traceparent": "01" + VALID[2:] + "-more"})
    assert trace.trace_id == VALID[3:35]
    assert trace.traceparent == VALID


def test_a_new_trace_has_one_id_however_often_it_is_asked_for() -> None:
    trace = TraceContext()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace.traceparent)
    assert trace.traceparent == trace.traceparent
    assert trace.traceparent != TraceContext().traceparent
    assert TraceContext.from_metadata(dict(trace.metadata())).trace_id == trace.trace_id


@given(st.text())
def test_no_header_breaks_the_parser(traceparent: str) -> None:
    assert len(TraceContext.from_metadata({"traceparent": traceparent}).trace_id) == 32


def test_without_spans_the_next_hop_has_the_caller_as_its_parent() -> None:
    tracer = NoopTracer()
    caller = TraceContext(VALID)
    arrived = tracer.server("kiosk.v1.Kiosk/Sell", caller).context
    left = tracer.client("till.v1.Till/Open", arrived, [TraceContext()]).context
    assert left.traceparent == VALID


async def test_the_current_traces_are_those_of_the_innermost_context() -> None:
    mine, other = TraceContext(VALID), TraceContext()

    async def seen() -> tuple[TraceContext, ...]:
        await asyncio.sleep(0)
        return current_traces()

    with use_traces([mine]):
        task = asyncio.create_task(seen())
        with use_traces([other, mine]):
            assert await seen() == (other, mine)
        assert await seen() == (mine,)
    assert await task == (mine,)
    assert current_traces() == ()


@pytest.mark.parametrize(
    ("tracestate", "passed_on"),
    [
        ("vendor=1", "vendor=1"),
        ("a=1,\tb@sys=x y , ,c/d=!", "a=1,b@sys=x y,c/d=!"),
        ("", ""),
        ("a=" + "x" * 255, "a=" + "x" * 255),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a=" + "x" * 12_000, ""),
        ("UPPER=1", ""),
        ("a=caf\u00e9", ""),
        ("a=b=c", ""),
        ("a=line\nbreak", ""),
        (b"a=1", ""),
    ],
)
def test_of_a_tracestate_only_what_is_valid_is_passed_on(
    tracestate: str | bytes, passed_on: str
) -> None:
    trace = TraceContext.from_metadata({"traceparent": VALID, "tracestate": tracestate})
    assert trace.tracestate == passed_on
