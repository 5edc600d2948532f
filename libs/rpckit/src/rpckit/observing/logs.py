"""Logs on stderr: one JSON object a line, or text for people.

Fields beside the message are named one by one in `extra`. Never log a request, whose fields are
about people, nor metadata, which holds tokens.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from rpckit.observing.tracing.context import TraceContext

AccessLogMode = Literal["all", "errors", "off"]

ERRORS_PER_SECOND = 10
"""Limit of records per second for one method and code; the others are only counted."""


def configure_logging(level: str, style: Literal["json", "text"], program: str) -> None:
    """Send every record of the process to stderr; called once, by `rpckit.serving.process.run`.

    Args:
        level: Lowest level that is logged, in lower case.
        style: Format of a record.
        program: Name of the program, a field of every JSON record.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(program) if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: ts, level, program, logger, message, extras, exception."""

    def __init__(self, program: str) -> None:
        """Format the records of a program."""
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        fields: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, logger, message and extras, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by its traceback, if any."""
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        line = (
            f"{_timestamp(record)} {record.levelname:7} {record.name}: "
            f"{record.getMessage()}{extras}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class AccessLog:
    """Logs calls: by default only failed ones.

    A record costs tens of microseconds, as much as a whole call on the fastest host, and the
    metrics count and time successful calls anyway. Records of failures are limited to
    `ERRORS_PER_SECOND` for each method and code, so that an overloaded server does not spend its
    CPU on logging. The next record has the number of those left out.
    """

    def __init__(self, mode: AccessLogMode) -> None:
        """Log all calls, those that failed, or no call."""
        self._mode = mode
        self._log = logging.getLogger("rpckit.access")
        self._throttles: dict[tuple[str, str], _Throttle] = {}

    def write(
        self, method: str, code: str, seconds: float, caller: str, trace: TraceContext | None
    ) -> None:
        """Log a finished call.

        Args:
            method: Full name.
            code: Name of its status code.
            seconds: Duration of the call.
            caller: Name of the caller's token, or `anonymous`.
            trace: Trace of the call. None if the call was refused before its metadata were read.
        """
        if self._mode == "off" or (code == "OK" and self._mode == "errors"):
            return
        level = _LEVELS.get(code, logging.INFO)
        if not self._log.isEnabledFor(level):
            return
        fields: dict[str, object] = {
            "method": method,
            "code": code,
            "duration_ms": round(seconds * 1000, 3),
            "caller": caller,
        }
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        if code != "OK":
            throttle = self._throttles.setdefault((method, code), _Throttle())
            if not throttle.admits(time.monotonic()):
                return
            if throttle.suppressed:
                fields["suppressed"] = throttle.suppressed
                throttle.suppressed = 0
        self._log.log(level, "call", extra=fields)


class _Throttle:
    """Admits `ERRORS_PER_SECOND` records and counts the others."""

    __slots__ = ("_admitted", "_second", "suppressed")

    def __init__(self) -> None:
        self._second = 0
        self._admitted = 0
        self.suppressed = 0

    def admits(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._admitted = int(now), 0
        if self._admitted == ERRORS_PER_SECOND:
            self.suppressed += 1
            return False
        self._admitted += 1
        return True


# A mistake of the caller is INFO, trouble of the server WARNING, a defect ERROR.
_LEVELS = {
    "UNKNOWN": logging.ERROR,
    "INTERNAL": logging.ERROR,
    "DATA_LOSS": logging.ERROR,
    "UNAVAILABLE": logging.WARNING,
    "DEADLINE_EXCEEDED": logging.WARNING,
    "RESOURCE_EXHAUSTED": logging.WARNING,
}

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
