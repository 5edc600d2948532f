from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpckit.observing.tracing.context import TraceContext, Untraced, on_behalf_of, served

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_caller_s_place_in_its_trace_is_passed_on() -> None:
    metadata = {"traceparent": VALID, "tracestate": "vendor=1", "authorization": "Bearer x"}
    trace = TraceContext.from_metadata(metadata)
    assert trace.begun
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
def test_what_is_not_a_traceparent_begins_a_trace(traceparent: str | bytes | None) -> None:
    metadata = {} if traceparent is None else {"traceparent": traceparent}
    trace = TraceContext.from_metadata({**metadata, "tracestate": "vendor=1"})
    assert not trace.begun
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


def test_without_spans_the_next_hop_is_below_the_caller_itself() -> None:
    tracer = Untraced()
    caller = TraceContext(VALID)
    arrived = tracer.server("kiosk.v1.Kiosk/Sell", caller).context
    left = tracer.client("till.v1.Till/Open", [arrived, TraceContext()]).context
    assert left.traceparent == VALID


async def test_work_behind_a_seam_knows_whom_it_serves_and_nobody_else_s() -> None:
    mine, other = TraceContext(VALID), TraceContext()

    async def seen() -> tuple[TraceContext, ...]:
        await asyncio.sleep(0)
        return served()

    with on_behalf_of([mine]):
        task = asyncio.create_task(seen())
        with on_behalf_of([other, mine]):
            assert await seen() == (other, mine)
        assert await seen() == (mine,)
    assert await task == (mine,)
    assert served() == ()
