from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from rpckit.observing import logs
from rpckit.observing.logs import AccessLog, configure_logging
from rpckit.observing.tracing.context import TraceContext

TRACE = TraceContext("00-" + "a" * 32 + "-" + "b" * 16 + "-01")


Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def records(capsys: pytest.CaptureFixture[str]) -> Records:
    """Read what has been logged as JSON since the last time."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_json_record_is_one_line_with_its_extras(records: Records) -> None:
    configure_logging("info", "json", "kiosk")
    logging.getLogger("kiosk.till").warning("short by\n%d", 3, extra={"till": 7})
    (record,) = records()
    assert record.pop("ts").endswith("+00:00")
    assert record == {
        "level": "warning",
        "program": "kiosk",
        "logger": "kiosk.till",
        "message": "short by\n3",
        "till": 7,
    }


def test_a_json_record_keeps_its_traceback_on_the_line(records: Records) -> None:
    configure_logging("info", "json", "kiosk")
    try:
        raise ValueError("empty")
    except ValueError:
        logging.getLogger("kiosk").exception("defect")
    (record,) = records()
    assert "ValueError: empty" in record["exception"]


def test_an_extra_that_json_does_not_know_is_written_as_text(records: Records) -> None:
    configure_logging("info", "json", "kiosk")
    logging.getLogger("kiosk").info(
        "odd",
        extra={
            "thing": {
                1,
            }
        },
    )
    assert records()[0]["thing"] == "{1}"


def test_text_is_one_line_with_time_level_logger_message_and_extras(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "text", "kiosk")
    logging.getLogger("kiosk").info("open", extra={"till": 7})
    assert capsys.readouterr().err.endswith(" INFO    kiosk: open till=7\n")


def test_text_shows_a_traceback_below_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text", "kiosk")
    try:
        raise ValueError("empty")
    except ValueError:
        logging.getLogger("kiosk").exception("defect")
    first, second, *_, last = capsys.readouterr().err.splitlines()
    assert first.endswith("kiosk: defect")
    assert second.startswith("Traceback")
    assert last == "ValueError: empty"


def test_a_call_less_severe_than_the_level_is_left_out(records: Records) -> None:
    configure_logging("error", "json", "kiosk")
    AccessLog("all").write("kiosk.v1.Kiosk/Sell", "NOT_FOUND", 0.001, "shop", TRACE)
    assert records() == []


def test_less_severe_records_are_left_out(records: Records) -> None:
    configure_logging("warning", "json", "kiosk")
    logging.getLogger("kiosk").info("noise")
    assert records() == []


def test_configuring_again_does_not_write_twice(records: Records) -> None:
    configure_logging("info", "json", "kiosk")
    configure_logging("info", "json", "kiosk")
    logging.getLogger("kiosk").info("once")
    assert len(records()) == 1


def test_a_failed_call_is_logged_with_who_what_and_how_long(records: Records) -> None:
    configure_logging("info", "json", "kiosk")
    AccessLog("errors").write("kiosk.v1.Kiosk/Sell", "UNAVAILABLE", 0.0123456, "shop", TRACE)
    (record,) = records()
    del record["ts"]
    assert record == {
        "level": "warning",
        "program": "kiosk",
        "logger": "rpckit.access",
        "message": "call",
        "method": "kiosk.v1.Kiosk/Sell",
        "code": "UNAVAILABLE",
        "duration_ms": 12.346,
        "caller": "shop",
        "trace_id": "a" * 32,
    }


@pytest.mark.parametrize(
    ("mode", "logged"), [("all", ["OK", "NOT_FOUND"]), ("errors", ["NOT_FOUND"]), ("off", [])]
)
def test_the_mode_says_which_calls_are_logged(
    records: Records, mode: logs.AccessLogMode, logged: list[str]
) -> None:
    configure_logging("info", "json", "kiosk")
    access_log = AccessLog(mode)
    for code in ("OK", "NOT_FOUND"):
        access_log.write("kiosk.v1.Kiosk/Sell", code, 0.001, "shop", TRACE)
    assert [record["code"] for record in records()] == logged


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("INVALID_ARGUMENT", "info"),
        ("CANCELLED", "info"),
        ("RESOURCE_EXHAUSTED", "warning"),
        ("INTERNAL", "error"),
    ],
)
def test_the_level_depends_on_the_code(records: Records, code: str, level: str) -> None:
    configure_logging("info", "json", "kiosk")
    AccessLog("errors").write("kiosk.v1.Kiosk/Sell", code, 0.001, "shop", TRACE)
    assert records()[0]["level"] == level


def test_repeated_failures_are_counted_rather_than_logged(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", "json", "kiosk")
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    access_log = AccessLog("errors")
    for _ in range(500):
        access_log.write("kiosk.v1.Kiosk/Sell", "RESOURCE_EXHAUSTED", 0.001, "shop", TRACE)
    access_log.write("kiosk.v1.Kiosk/Sell", "INTERNAL", 0.001, "shop", TRACE)
    now += 1
    for _ in range(2):
        access_log.write("kiosk.v1.Kiosk/Sell", "RESOURCE_EXHAUSTED", 0.001, "shop", TRACE)
    written = records()
    first = written[: logs.ERRORS_PER_SECOND]
    assert all(record["code"] == "RESOURCE_EXHAUSTED" for record in first)
    rest = written[logs.ERRORS_PER_SECOND :]
    assert [(r["code"], r.get("suppressed")) for r in rest] == [
        ("INTERNAL", None),
        ("RESOURCE_EXHAUSTED", 500 - logs.ERRORS_PER_SECOND),
        ("RESOURCE_EXHAUSTED", None),
    ]
